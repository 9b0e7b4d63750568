// wr_semaphore: a number, and those who wait for some of it. Source: golang.org/x/sync/semaphore.
// Invariant: nobody overtakes: while one waits all who come wait behind it, however little they ask for.
#include "scheduler/wait_list.h"

#include <warren/sync.h>

namespace warren::scheduler {
namespace {

WaitList waiters_of(wr_semaphore *s) { return WaitList(s->room[0], s->room[1]); }

bool take_locked(wr_semaphore *s, int64_t n) {
  if (s->available < n || !waiters_of(s).empty()) return false;
  s->available -= n;
  return true;
}

}  // namespace
}  // namespace warren::scheduler

using namespace warren::scheduler;

extern "C" {

void wr_semaphore_acquire(wr_semaphore *s, int64_t n) NO_THREAD_SAFETY_ANALYSIS {
  ShortLock &lock = lock_in(s->lock);
  lock.lock();
  if (take_locked(s, n)) return lock.unlock();
  Place place;
  place.g = current();
  place.amount = n;
  waiters_of(s).push_back(&place);
  park_and_unlock(lock, WaitReason::kSemaphore);
}

int wr_semaphore_try_acquire(wr_semaphore *s, int64_t n) {
  ShortLockGuard guard(lock_in(s->lock));
  return take_locked(s, n) ? 1 : 0;
}

void wr_semaphore_release(wr_semaphore *s, int64_t n) {
  Place *woken = nullptr;
  Place **end = &woken;
  {
    ShortLockGuard guard(lock_in(s->lock));
    s->available += n;
    WaitList waiters = waiters_of(s);
    while (!waiters.empty() && waiters.front()->amount <= s->available) {
      Place *place = waiters.pop_front();
      s->available -= place->amount;
      place->next = nullptr;
      *end = place;
      end = &place->next;
    }
  }
  ready_all(woken);
}

}  // extern "C"
