// The lock that stands in for the scheduler's and the allocator's in the model: before it is taken and after it is given up,
// anybody may come next. Invariant: one coroutine runs at a time, so that plain words do.
#pragma once

#include "allocator/base/annotations.h"
#include "tests/scheduler/model/explore.h"

#include <cstdint>

namespace warren {

class CAPABILITY("mutex") ModelLock {
 public:
  constexpr ModelLock() = default;
  ModelLock(const ModelLock &) = delete;
  ModelLock &operator=(const ModelLock &) = delete;

  void lock() ACQUIRE() {
    do {
      explore::step();
    } while (word_ != 0);
    word_ = 1;
  }
  bool try_lock() TRY_ACQUIRE(true) {
    explore::step();
    if (word_ != 0) return false;
    word_ = 1;
    return true;
  }
  void unlock() RELEASE() {
    word_ = 0;  // the last touch: what comes next may free it
    explore::step();
  }

 private:
  uint32_t word_ = 0;
};

class SCOPED_CAPABILITY ModelLockGuard {
 public:
  explicit ModelLockGuard(ModelLock &lock) ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
  ~ModelLockGuard() RELEASE() { lock_.unlock(); }
  ModelLockGuard(const ModelLockGuard &) = delete;
  ModelLockGuard &operator=(const ModelLockGuard &) = delete;

 private:
  ModelLock &lock_;
};

}  // namespace warren
