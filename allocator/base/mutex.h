// A futex mutex that knows its owner, and in debug builds its rank.
// The owner is there for signal handlers: one that interrupts a thread inside the heap must be able
// to see that waiting would never end (held_by_me). So the owner is the lock word itself: there is no
// moment at which the lock is taken and not yet owned.
//
//   word_   0: free;  else: owner's identity << 1 | somebody sleeps
//
// Invariant: the word carries this thread's identity exactly from its lock() to its unlock().
#pragma once

#include "allocator/base/annotations.h"
#include "allocator/base/check.h"
#include "allocator/base/lock_rank.h"

#include <atomic>
#include <cstdint>

namespace warren {

class CAPABILITY("mutex") Mutex {
 public:
  constexpr explicit Mutex(LockRank rank) : rank_(kept(rank)) {}
  Mutex(const Mutex &) = delete;
  Mutex &operator=(const Mutex &) = delete;

  void lock() ACQUIRE();
  void unlock() RELEASE();

  // True inside a signal handler that interrupted this thread while it held the lock.
  bool held_by_me() const;

  // For fork only. lock_for_fork() ignores the rank of other centrals already held, and leaves a lock
  // alone that this very thread holds (fork called in a signal handler): returns whether it locked.
  bool lock_for_fork();
  void unlock_after_fork(bool in_child);
  // In a forked child, for a lock that the fork did not take: whoever had it is gone. Returns whether anybody had.
  bool take_from_the_gone() { return word_.exchange(0, std::memory_order_relaxed) != 0; }

 private:
  // Who waits for the world's lock, or for one held while the world is stopped, must be able to stop for the one who has it.
  static constexpr bool is_gated(LockRank rank) { return rank > LockRank::kWorld || rank == LockRank::kNotKept; }

  // A release build asks for nothing else. A lock that is all zero, and what it is part of, takes no room in the file, of which the
  // kernel maps more than what is used.
  static constexpr LockRank kept(LockRank rank) { return kDebug || !is_gated(rank) ? rank : LockRank::kNotKept; }

  void lock_slow(uint32_t mine);
  void acquire();

  std::atomic<uint32_t> word_{0};
  LockRank rank_;
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
