// See maps_file.h. A line: "LOW-HIGH rwxp OFFSET MAJOR:MINOR INODE    NAME".
#include "inspect/maps_file.h"

#include "allocator/base/os_calls.h"

#include <cstring>
#include <fcntl.h>

namespace warren::inspect {
namespace {

struct Cursor {
  const char *at;

  uint64_t number(unsigned base) {
    uint64_t value = 0;
    for (;; ++at) {
      unsigned digit;
      if (*at >= '0' && *at <= '9') {
        digit = static_cast<unsigned>(*at - '0');
      } else if (base == 16 && *at >= 'a' && *at <= 'f') {
        digit = static_cast<unsigned>(*at - 'a' + 10);
      } else {
        return value;
      }
      value = value * base + digit;
    }
  }
  void past(char c) {
    while (*at != c && *at != '\0') ++at;
    if (*at == c) ++at;
  }
};

bool read_text(const char *path, gc::PagedArray<char> &text) {
  constexpr size_t kStep = size_t{64} << 10;
  const long fd = os_calls::open(path, O_RDONLY);
  if (os_calls::failed(fd)) return false;
  bool whole = false;
  while (text.reserve(text.size() + kStep)) {
    const size_t size = text.size();
    const long got = os_calls::read(static_cast<int>(fd), text.begin() + size, kStep);
    if (got <= 0) {
      whole = got == 0;
      break;
    }
    text.shrink(size + static_cast<size_t>(got));
  }
  os_calls::close(static_cast<int>(fd));
  return whole && text.push_back('\0');
}

// False: no line of that form.
bool parse(const char *line, const char *text, Mapping &mapping) {
  Cursor cursor{line};
  mapping.low = cursor.number(16);
  if (*cursor.at != '-') return false;
  cursor.past('-');
  mapping.high = cursor.number(16);
  cursor.past(' ');
  const char *flags = cursor.at;
  if (strnlen(flags, 4) < 4) return false;
  mapping.readable = flags[0] == 'r';
  mapping.writable = flags[1] == 'w';
  mapping.executable = flags[2] == 'x';
  mapping.shared = flags[3] == 's';
  cursor.past(' ');
  mapping.offset = cursor.number(16);
  cursor.past(' ');
  cursor.past(' ');
  mapping.inode = cursor.number(10);
  while (*cursor.at == ' ') ++cursor.at;
  mapping.name_at = static_cast<size_t>(cursor.at - text);
  return true;
}

}  // namespace

bool read_maps(const char *path, gc::PagedArray<char> &text, bool (*add)(const Mapping &mapping, void *context), void *context) {
  if (!read_text(path, text)) return false;
  for (size_t at = 0; at + 1 < text.size();) {
    const auto *end = static_cast<char *>(memchr(&text[at], '\n', text.size() - at));
    if (end == nullptr) break;
    const auto next = static_cast<size_t>(end - text.begin());
    text[next] = '\0';
    Mapping mapping{};
    if (parse(&text[at], text.begin(), mapping) && !add(mapping, context)) return false;
    at = next + 1;
  }
  return true;
}

}  // namespace warren::inspect
