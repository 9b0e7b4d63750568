// A queue of parked Gs: the places lie on their stacks. Callers: mutex, rw_mutex, wait_group, cond, semaphore.
// The public objects hold the list as two pointers and its lock as a word, so that C programs can declare them.
// Invariant: guarded by the lock of the object it belongs to; a place is its G's again once that is ready. Fibers that a run has left
// behind are not in it, for who looks at its front or takes it.
#pragma once

#include "scheduler/park.h"
#include "scheduler/short_lock.h"

#include <cstdint>

namespace warren::scheduler {

struct Place {
  Place *next = nullptr;
  G *g = nullptr;
  int64_t amount = 0;    // semaphore: how many it waits for
  uint64_t since = 0;    // mutex: when it began to wait
  bool granted = false;  // mutex: it was given the lock, not only woken
};

class WaitList {
 public:
  WaitList(void *&first, void *&last) : first_(first), last_(last) {}

  bool empty() { return front() == nullptr; }
  Place *front() {
    while (first_ != nullptr && WARREN_UNLIKELY(is_abandoned(first()->g))) drop_first();
    return first();
  }

  void push_back(Place *place) {
    place->next = nullptr;
    if (first_ == nullptr) {
      first_ = place;
    } else {
      static_cast<Place *>(last_)->next = place;
    }
    last_ = place;
  }
  void push_front(Place *place) {
    place->next = first();
    if (first_ == nullptr) last_ = place;
    first_ = place;
  }
  Place *pop_front() {
    Place *place = front();
    if (place != nullptr) drop_first();
    return place;
  }
  // Those left behind among them; ready() passes over these.
  Place *take_all() {
    Place *all = first();
    first_ = last_ = nullptr;
    return all;
  }

 private:
  Place *first() const { return static_cast<Place *>(first_); }
  void drop_first() {
    first_ = first()->next;
    if (first_ == nullptr) last_ = nullptr;  // as an address it would lead to a stack for as long as nobody waits again
  }

  void *&first_;
  void *&last_;
};

static_assert(sizeof(ShortLock) == sizeof(uint32_t));
inline ShortLock &lock_in(uint32_t &word) { return reinterpret_cast<ShortLock &>(word); }

// Called with the lock held, which is given up when the G is parked.
inline void park_and_unlock(ShortLock &lock, WaitReason reason) NO_THREAD_SAFETY_ANALYSIS {
  park(
      [](G *, void *held) NO_THREAD_SAFETY_ANALYSIS {
        static_cast<ShortLock *>(held)->unlock();
        return true;
      },
      &lock, reason, &lock);
}

}  // namespace warren::scheduler
