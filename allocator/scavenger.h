// The scavenger: gives warm free memory back to the kernel when the program has done without it for a while.
//
// The page heap wakes it when much warm memory lies free. It then looks a few times per `scavenge_delay` at
// how little was free since the last look: what stayed free through a whole delay, less a tenth of what is in
// use, goes back, at 1% of a processor. When nothing is left to wait for, the thread ends; a process at rest
// has none. (Go's scavenger keeps the same tenth and the same 1%; that the thread comes and goes is ours,
// since a preloaded library owes its host as few threads as it can.)
//
// Callers: page_heap.cc, heap_slow.cc, fork.cc. Invariant: one thread at a time runs the policy, and no thread is made
// before memory is to be given back, nor in a child that libc does not know to be forked.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::scavenger {

// Once, while the heap is set up.
void set_up();

// Much warm memory lies free. Called without locks, at most once for each page_heap::arm().
void wake();

// In a forked child: the thread did not come along.
void reset_in_child();

// Memory went back that the program asked for: for the trace.
void note_released(uint64_t bytes);

// Nanoseconds of processor time spent so far, in this process.
uint64_t processor_time();

// How little was free in the last few looks, from what each of them saw.
class LeastOf {
 public:
  static constexpr unsigned kLooks = 4;  // a delay is watched in this many parts

  void note(uint64_t pages) {
    seen_[next_ % kLooks] = pages;
    ++next_;
  }

  // 0 until a whole delay was watched.
  uint64_t least() const {
    uint64_t least = seen_[0];
    for (const uint64_t pages : seen_) least = pages < least ? pages : least;
    return next_ < kLooks ? 0 : least;
  }

 private:
  uint64_t seen_[kLooks] = {};
  unsigned next_ = 0;
};

// How much processor time may be spent by `now`: kShare of the time since the process began, and a start.
class ProcessorBudget {
 public:
  // 1%, Go's figure. More: a gigabyte of small pages, some 100 ms of madvise, comes back sooner, and a
  // program that needs it again has lost more. Less: 20 s are not enough for it.
  static constexpr uint64_t kShare = 100;
  static constexpr uint64_t kStart = 50'000'000;

  constexpr explicit ProcessorBudget(uint64_t began) : began_(began) {}
  void spend(uint64_t nanoseconds) { spent_ += nanoseconds; }
  uint64_t spent() const { return spent_; }

  // Nanoseconds to wait until more may be spent; 0: go on.
  uint64_t wait(uint64_t now) const {
    const uint64_t allowed = kStart + (now - began_) / kShare;
    return spent_ <= allowed ? 0 : (spent_ - allowed) * kShare;
  }

 private:
  uint64_t began_;
  uint64_t spent_ = 0;
};

// The part of `least` pages that is not kept, given what is in use.
uint64_t excess(uint64_t least, uint64_t used_pages);

}  // namespace warren::scavenger
