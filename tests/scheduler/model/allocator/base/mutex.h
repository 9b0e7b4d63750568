// Stands in for allocator/base/mutex.h in the model: before a lock is taken and after it is given up, anybody may come
// next. Caller: the sources under test, which find this file first. Invariant: one coroutine runs at a time, so that a
// plain word does.
#pragma once

#include "allocator/base/annotations.h"
#include "allocator/base/lock_rank.h"
#include "tests/scheduler/model/explore.h"

#include <cstdint>

namespace warren {

class CAPABILITY("mutex") Mutex {
 public:
  constexpr explicit Mutex(LockRank) {}
  Mutex(const Mutex &) = delete;
  Mutex &operator=(const Mutex &) = delete;

  void lock() ACQUIRE() {
    do {
      explore::step();
    } while (word_ != 0);
    word_ = 1;
  }
  void unlock() RELEASE() {
    word_ = 0;
    explore::step();
  }

 private:
  uint32_t word_ = 0;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex &mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock &) = delete;
  MutexLock &operator=(const MutexLock &) = delete;

 private:
  Mutex &mutex_;
};

}  // namespace warren
