// wr_wait_group: a count, and those who wait for it to be 0. Source: Go's waitgroup.go.
// Invariant: the store that unlocks is the last touch, in add as in wait: a group on the stack of the
// one that waits may be gone as soon as that is ready.
#include "scheduler/wait_list.h"

#include <warren/sync.h>

#include <cerrno>

using namespace warren::scheduler;

extern "C" {

int wr_wait_group_add(wr_wait_group *g, int64_t delta) {
  Place *woken = nullptr;
  {
    ShortLockGuard guard(lock_in(g->lock));
    int64_t count;
    if (__builtin_add_overflow(g->count, delta, &count) || count < 0) return -ERANGE;
    g->count = count;
    if (count == 0) woken = WaitList(g->room[0], g->room[1]).take_all();
  }
  ready_all(woken);
  return 0;
}

void wr_wait_group_wait(wr_wait_group *g) NO_THREAD_SAFETY_ANALYSIS {
  ShortLock &lock = lock_in(g->lock);
  lock.lock();
  if (g->count == 0) return lock.unlock();
  Place place;
  place.g = current();
  WaitList(g->room[0], g->room[1]).push_back(&place);
  park_and_unlock(lock, WaitReason::kWaitGroupWait);
}

}  // extern "C"
