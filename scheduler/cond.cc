// wr_cond: those who wait, in their order. Source: sync.Cond.
// Invariant: who waits is in the queue before the mutex is unlocked, so that a signal after that finds it.
#include "scheduler/mutex.h"
#include "scheduler/wait_list.h"

using namespace warren::scheduler;

extern "C" {

void wr_cond_wait(wr_cond *c, wr_mutex *m) {
  Place place;
  place.g = current();
  {
    ShortLockGuard guard(lock_in(c->lock));
    WaitList(c->room[0], c->room[1]).push_back(&place);
  }
  wr_mutex_unlock(m);
  park(nullptr, nullptr, WaitReason::kCondWait, c);  // ready() may have come already
  wr_mutex_lock(m);
}

void wr_cond_signal(wr_cond *c) {
  Place *woken;
  {
    ShortLockGuard guard(lock_in(c->lock));
    woken = WaitList(c->room[0], c->room[1]).pop_front();
  }
  if (woken != nullptr) ready(woken->g);
}

void wr_cond_broadcast(wr_cond *c) {
  Place *woken;
  {
    ShortLockGuard guard(lock_in(c->lock));
    woken = WaitList(c->room[0], c->room[1]).take_all();
  }
  ready_all(woken);
}

}  // extern "C"
