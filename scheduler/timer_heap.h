// A P's timers: a 4-ary heap by time, with a lock of its own, so that other Ps can run what is due and remove what they
// added.
// Callers: timer.cc, the schedule loop, sysmon.cc (when the next is due). Invariant: timers_[i]->index == i and ->heap
// == this for all i, under the lock.
#pragma once

#include "allocator/base/mutex.h"
#include "scheduler/timer.h"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace warren::scheduler {

inline constexpr uint64_t kNever = ~uint64_t{0};

class TimerHeap {
 public:
  // When the first is due, kNever for none. A hint without the lock.
  uint64_t next() const { return next_.load(std::memory_order_relaxed); }

  // Whether it has become the first.
  bool add(Timer *timer);

  // False: the timer is not in this heap (any more).
  bool remove(Timer *timer);

  // Runs what is due; returns when the next is, kNever for none.
  uint64_t run(uint64_t now);

  // Moves all timers to another heap. Between the two a timer's heap is moving(): it is pending all the time, and who
  // wants to remove it waits until it has arrived. Those that `forget` is true for are dropped.
  void move_to(TimerHeap &other, bool (*forget)(const Timer *timer) = nullptr);
  static TimerHeap *moving();

  // In a forked child.
  void take_lock_from_the_gone() { lock_.take_from_the_gone(); }

 private:
  bool insert(Timer *timer) REQUIRES(lock_);
  void erase(uint32_t index, TimerHeap *next_heap = nullptr) REQUIRES(lock_);
  void sift_up(uint32_t index) REQUIRES(lock_);
  void sift_down(uint32_t index) REQUIRES(lock_);
  void publish_next() REQUIRES(lock_);

  Mutex lock_{LockRank::kTimers};
  Timer **timers_ GUARDED_BY(lock_) = nullptr;
  uint32_t count_ GUARDED_BY(lock_) = 0;
  uint32_t capacity_ GUARDED_BY(lock_) = 0;
  // relaxed: who adds a first timer looks for a sleeper afterwards, behind a fence (timer.cc).
  std::atomic<uint64_t> next_{kNever};
};

}  // namespace warren::scheduler
