// See report_lines.h.
#include "inspect/report_lines.h"

#include "allocator/base/address.h"
#include "allocator/base/os_calls.h"
#include "inspect/frame_names.h"

#include <cstring>

namespace warren::inspect::report_lines {
namespace {

constexpr size_t kLongestName = 300;  // leaves room for the rest of a line

}  // namespace

// Not LogLine::write_to(), which asks libc for the signals that wait: here all are blocked, and libc's locks may be
// held.
void put(LogLine &line, int fd) {
  line << "\n";
  size_t done = 0;
  while (done < line.size()) {
    const long written = os_calls::write(fd, line.data() + done, line.size() - done);
    if (written <= 0) break;
    done += static_cast<size_t>(written);
  }
}

void write_frame(int fd, uintptr_t address) {
  const frame_names::Frame symbol = frame_names::at(address);
  LogLine line;
  line << "    ";
  const char *file = symbol.file;
  if (file != nullptr && strrchr(file, '/') != nullptr) file = strrchr(file, '/') + 1;
  const size_t file_length = file == nullptr ? 0 : strlen(file) < 100 ? strlen(file) : 100;
  if (symbol.function != nullptr) {
    const char *name = frame_names::demangled(symbol.function);
    const size_t length = strlen(name);
    line.text(name, length < kLongestName ? length : kLongestName);
    line << "+" << at_address<const void>(symbol.offset) << " (";
    line.text(file, file_length) << ")";
  } else if (file != nullptr) {
    line << at_address<const void>(address) << " (";
    line.text(file, file_length) << "+" << at_address<const void>(symbol.offset) << ")";
  } else {
    line << at_address<const void>(address) << " (not mapped any more)";
  }
  put(line, fd);
}

// "0.21"
void put_milliseconds(LogLine &line, uint64_t nanoseconds) {
  const uint64_t hundredths = nanoseconds / 10'000;
  line << hundredths / 100 << "." << hundredths / 10 % 10 << hundredths % 10;
}

}  // namespace warren::inspect::report_lines
