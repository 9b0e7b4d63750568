// See modules.h. The lines of /proc/self/maps: "start-end rwxp offset major:minor inode   path".
#include "inspect/modules.h"

#include "allocator/base/os_calls.h"

#include <cstring>
#include <fcntl.h>

namespace warren::inspect {
namespace {

// Reads hexadecimal digits; leaves `at` behind them.
uint64_t hexadecimal(const char *&at) {
  uint64_t number = 0;
  for (;; ++at) {
    const auto c = static_cast<unsigned char>(*at);
    const unsigned digit = c >= '0' && c <= '9' ? c - unsigned{'0'} : c >= 'a' && c <= 'f' ? c - 'a' + 10u : 16u;
    if (digit == 16) return number;
    number = number << 4 | digit;
  }
}

}  // namespace

bool Modules::read_text() {
  constexpr size_t kStep = size_t{64} << 10;
  const long fd = os_calls::open("/proc/self/maps", O_RDONLY);
  if (os_calls::failed(fd)) return false;
  bool whole = false;
  while (text_.reserve(text_.size() + kStep)) {
    const size_t size = text_.size();
    const long got = os_calls::read(static_cast<int>(fd), text_.begin() + size, kStep);
    if (got <= 0) {
      whole = got == 0;
      break;
    }
    text_.shrink(size + static_cast<size_t>(got));
  }
  os_calls::close(static_cast<int>(fd));
  return whole && text_.push_back('\0');
}

// The line at `at`, whose end is already a NUL.
bool Modules::read_line(size_t at) {
  const char *text = &text_[at];
  Module module{};
  module.start = hexadecimal(text);
  if (*text++ != '-') return true;
  module.end = hexadecimal(text);
  const bool executable = text[0] == ' ' && text[3] == 'x';
  if (!executable) return true;
  text += 6;
  module.file_offset = hexadecimal(text);
  for (int field = 0; field < 2; ++field) {  // device and inode
    while (*text == ' ') ++text;
    while (*text != ' ' && *text != '\0') ++text;
  }
  while (*text == ' ') ++text;
  module.path = static_cast<size_t>(text - text_.begin());
  return modules_.push_back(module);
}

bool Modules::read() {
  if (!read_text()) return false;
  for (size_t at = 0; at + 1 < text_.size();) {
    const auto *end = static_cast<char *>(memchr(&text_[at], '\n', text_.size() - at));
    if (end == nullptr) break;
    const auto next = static_cast<size_t>(end - text_.begin());
    text_[next] = '\0';
    if (!read_line(at)) return false;
    at = next + 1;
  }
  return true;
}

void Modules::release() {
  modules_.release();
  text_.release();
}

size_t Modules::find(uintptr_t address) const {
  size_t first = 0, last = modules_.size();
  while (first < last) {
    const size_t middle = first + (last - first) / 2;
    if (modules_[middle].end <= address) {
      first = middle + 1;
    } else {
      last = middle;
    }
  }
  return first < modules_.size() && modules_[first].start <= address ? first : modules_.size();
}

}  // namespace warren::inspect
