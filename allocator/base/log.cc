// See log.h.
#include "allocator/base/log.h"

#include "allocator/base/address.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/write_signals.h"

namespace warren {
namespace {

constexpr size_t kMaxDigits = 20;

// Writes the digits of `number` to the end of `buffer`; returns where they start.
size_t digits(uint64_t number, unsigned base, char (&buffer)[kMaxDigits]) {
  size_t start = kMaxDigits;
  do {
    buffer[--start] = "0123456789abcdef"[number % base];
    number /= base;
  } while (number != 0);
  return start;
}

}  // namespace

LogLine &LogLine::operator<<(const char *text) {
  while (*text != '\0') put(*text++);
  return *this;
}

LogLine &LogLine::text(const char *start, size_t length) {
  for (size_t i = 0; i < length; ++i) put(start[i]);
  return *this;
}

LogLine &LogLine::operator<<(uint64_t number) { return padded(number, 0); }

LogLine &LogLine::padded(uint64_t number, size_t width) {
  char buffer[kMaxDigits];
  const size_t start = digits(number, 10, buffer);
  for (size_t used = kMaxDigits - start; used < width; ++used) put(' ');
  return text(buffer + start, kMaxDigits - start);
}

LogLine &LogLine::operator<<(const void *address) {
  char buffer[kMaxDigits];
  const size_t start = digits(address_of(address), 16, buffer);
  return (*this << "0x").text(buffer + start, kMaxDigits - start);
}

void LogLine::write_to(int fd) {
  const WriteSignalsHeld guard;
  buffer_[length_++] = '\n';  // put() always leaves room for it
  size_t done = 0;
  while (done < length_) {
    const long written = os_calls::write(fd, buffer_ + done, length_ - done);
    if (written <= 0) break;  // a closed stderr loses the line, never the process
    done += static_cast<size_t>(written);
  }
}

}  // namespace warren
