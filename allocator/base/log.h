// One line of text for stderr, built in a stack buffer. Callers: fatal, options, stats.
// Safe in signal handlers and with any lock held: no allocation, no stdio, one write(2).
// Invariant: what does not fit is cut, and the line still ends in a newline.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren {

class LogLine {
 public:
  LogLine &operator<<(const char *text);
  LogLine &operator<<(uint64_t number);
  LogLine &operator<<(const void *address);  // 0x…
  LogLine &text(const char *start, size_t length);
  LogLine &padded(uint64_t number, size_t width);  // right-aligned

  void write_to(int fd);  // appends the newline

  const char *data() const { return buffer_; }
  size_t size() const { return length_; }

 private:
  void put(char c) {
    if (length_ < sizeof buffer_ - 1) buffer_[length_++] = c;
  }
  char buffer_[512];
  size_t length_ = 0;
};

}  // namespace warren
