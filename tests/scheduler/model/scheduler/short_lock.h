// Stands in for scheduler/short_lock.h in the model: before a lock is taken and after it is given up, anybody may come
// next. Invariant: one coroutine runs at a time, so that plain words do.
#pragma once

#include "allocator/base/annotations.h"
#include "tests/scheduler/model/explore.h"

#include <atomic>
#include <cstdint>

namespace warren::scheduler {

class CAPABILITY("mutex") ShortLock {
 public:
  constexpr ShortLock() = default;
  ShortLock(const ShortLock &) = delete;
  ShortLock &operator=(const ShortLock &) = delete;

  void lock() ACQUIRE() {
    do {
      explore::step();
    } while (word_ != 0);
    word_ = 1;
  }
  void unlock() RELEASE() {
    word_ = 0;  // the last touch: what comes next may free it
    explore::step();
  }

 private:
  uint32_t word_ = 0;
};

class SCOPED_CAPABILITY ShortLockGuard {
 public:
  explicit ShortLockGuard(ShortLock &lock) ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
  ~ShortLockGuard() RELEASE() { lock_.unlock(); }
  ShortLockGuard(const ShortLockGuard &) = delete;
  ShortLockGuard &operator=(const ShortLockGuard &) = delete;

 private:
  ShortLock &lock_;
};

}  // namespace warren::scheduler
