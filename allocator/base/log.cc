// See log.h.
#include "allocator/base/log.h"

#include "allocator/base/address.h"
#include "allocator/base/os_calls.h"

#include <cerrno>
#include <csignal>
#include <ctime>
#include <pthread.h>

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

namespace {

// Holds SIGPIPE back while it lives: a reader of stderr that is gone must not end the process, nor take the place
// of the signal that does.
class NoSigpipe {
 public:
  NoSigpipe() {
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoSigpipe() {
    const timespec now{};
    const int error = errno;
    if (!was_pending_) {
      while (sigtimedwait(&pipe_, nullptr, &now) == -1 && errno == EINTR) {
      }
    }
    errno = error;
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoSigpipe(const NoSigpipe &) = delete;
  NoSigpipe &operator=(const NoSigpipe &) = delete;

 private:
  sigset_t pipe_, before_;
  bool was_pending_;
};

}  // namespace

void LogLine::write_to(int fd) {
  const NoSigpipe guard;
  buffer_[length_++] = '\n';  // put() always leaves room for it
  size_t done = 0;
  while (done < length_) {
    const long written = os_calls::write(fd, buffer_ + done, length_ - done);
    if (written <= 0) break;  // a closed stderr loses the line, never the process
    done += static_cast<size_t>(written);
  }
}

}  // namespace warren
