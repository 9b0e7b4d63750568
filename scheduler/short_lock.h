// The lock of one channel, timer or wait queue: held for some ten instructions, by fibers and threads alike.
// Callers: channel, select, sync, timer_channel, cancel_tree, pool. A fiber is never switched away while it holds one: it
// parks by handing the unlocking to park(), and preemption takes the P from its thread, not the thread from the fiber.
// Invariant: the store in unlock() is the last touch, so that whoever takes the lock next may free the memory it lies
// in. (A lock with sleepers would have to look at them afterwards, or pay for a second atomic exchange.)
//
// Rank: above all ranked locks. Under it elements are moved by the user's functions, which may allocate, and timers are
// added and removed; nothing is parked. A timer's and the pools' registry's are taken before a channel's and a shard's;
// select holds those of several channels, in address order.
#pragma once

#include "allocator/base/annotations.h"

#include <atomic>
#include <cstdint>

namespace warren::scheduler {

class CAPABILITY("mutex") ShortLock {
 public:
  constexpr ShortLock() = default;
  ShortLock(const ShortLock &) = delete;
  ShortLock &operator=(const ShortLock &) = delete;

  void lock() ACQUIRE() {
    if (WARREN_UNLIKELY(!try_lock())) lock_slow();
  }

  bool try_lock() TRY_ACQUIRE(true) {
    // acquire: pairs with the release in unlock(). One bit: a single instruction, whose result is in a flag.
    return (word_.fetch_or(1, std::memory_order_acquire) & 1) == 0;
  }

  // release: pairs with the acquires in lock() and lock_slow().
  void unlock() RELEASE() { word_.store(0, std::memory_order_release); }

 private:
  void lock_slow();

  std::atomic<uint32_t> word_{0};
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
