// A stream of bytes to a place in a file, gathered into large writes.
// Callers: heap_dump.cc. Invariant: after the first error nothing is written any more, and error() tells it.
#pragma once

#include "allocator/base/address.h"
#include "allocator/base/os_calls.h"

#include <cerrno>
#include <cstring>

namespace warren::inspect {

class DumpStream {
 public:
  static constexpr size_t kBuffer = size_t{256} << 10;

  // `buffer`: kBuffer bytes.
  DumpStream(int fd, uint64_t offset, void *buffer) : buffer_(static_cast<char *>(buffer)), offset_(offset), fd_(fd) {}

  void put(const void *data, size_t bytes) {
    while (bytes != 0) {
      const size_t some = bytes < kBuffer - used_ ? bytes : kBuffer - used_;
      memcpy(buffer_ + used_, data, some);
      used_ += some;
      data = static_cast<const char *>(data) + some;
      bytes -= some;
      if (used_ == kBuffer) flush();
    }
  }

  template <class Item>
  void put(const Item &item) {
    if (kBuffer - used_ < sizeof item) flush();
    memcpy(buffer_ + used_, &item, sizeof item);
    used_ += sizeof item;
  }

  void flush() {
    for (size_t done = 0; done < used_ && error_ == 0;) {
      const long written = os_calls::write_at(fd_, buffer_ + done, used_ - done, offset_ + done);
      if (written == -EINTR) continue;
      if (written <= 0) error_ = written == 0 ? ENOSPC : static_cast<int>(-written);
      if (written > 0) done += static_cast<size_t>(written);
    }
    offset_ += used_;
    used_ = 0;
  }

  uint64_t offset() const { return offset_ + used_; }
  int error() const { return error_; }

 private:
  char *buffer_;
  size_t used_ = 0;
  uint64_t offset_;
  int fd_;
  int error_ = 0;
};

}  // namespace warren::inspect
