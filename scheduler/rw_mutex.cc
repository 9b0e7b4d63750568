// wr_rw_mutex: a count of readers, a writer, and a queue for each. Source of the order: Go's rwmutex.go.
// Everything happens under the object's ShortLock, the hand-over included: who is made ready has the mutex already.
// Invariant: readers wait only while there is a writer or one waits; writers only while there is anybody.
#include "scheduler/wait_list.h"

#include <warren/scheduler_core.h>
#include <warren/sync.h>

namespace warren::scheduler {
namespace {

WaitList readers_of(wr_rw_mutex *m) { return WaitList(m->room[0], m->room[1]); }
WaitList writers_of(wr_rw_mutex *m) { return WaitList(m->room[2], m->room[3]); }

// With the lock held, which is given up.
void wait_in(wr_rw_mutex *m, WaitList list, WaitReason reason) {
  Place place;
  place.g = current();
  list.push_back(&place);
  park_and_unlock(lock_in(m->lock), reason);
}

}  // namespace
}  // namespace warren::scheduler

using namespace warren::scheduler;

extern "C" {

void wr_rw_mutex_lock(wr_rw_mutex *m) NO_THREAD_SAFETY_ANALYSIS {
  ShortLock &lock = lock_in(m->lock);
  lock.lock();
  if (m->writer != 0 || m->readers != 0) return wait_in(m, writers_of(m), WaitReason::kRwMutexLock);
  m->writer = 1;
  lock.unlock();
}

int wr_rw_mutex_try_lock(wr_rw_mutex *m) {
  ShortLockGuard guard(lock_in(m->lock));
  if (m->writer != 0 || m->readers != 0) return 0;
  m->writer = 1;
  return 1;
}

void wr_rw_mutex_unlock(wr_rw_mutex *m) NO_THREAD_SAFETY_ANALYSIS {
  ShortLock &lock = lock_in(m->lock);
  lock.lock();
  if (m->writer == 0) wr_fatal_error("sync: Unlock of unlocked RWMutex");
  Place *woken = nullptr;
  Place **end = &woken;
  for (WaitList readers = readers_of(m); Place *place = readers.pop_front(); end = &place->next) {
    *end = place;
    ++m->readers;
  }
  *end = nullptr;
  if (woken != nullptr) {
    m->writer = 0;
  } else {
    woken = writers_of(m).pop_front();
    if (woken != nullptr) {
      woken->next = nullptr;  // writer stays 1
    } else {
      m->writer = 0;
    }
  }
  lock.unlock();
  ready_all(woken);
}

void wr_rw_mutex_rlock(wr_rw_mutex *m) NO_THREAD_SAFETY_ANALYSIS {
  ShortLock &lock = lock_in(m->lock);
  lock.lock();
  if (m->writer != 0 || !writers_of(m).empty()) return wait_in(m, readers_of(m), WaitReason::kRwMutexRLock);
  ++m->readers;
  lock.unlock();
}

int wr_rw_mutex_try_rlock(wr_rw_mutex *m) {
  ShortLockGuard guard(lock_in(m->lock));
  if (m->writer != 0 || !writers_of(m).empty()) return 0;
  ++m->readers;
  return 1;
}

void wr_rw_mutex_runlock(wr_rw_mutex *m) NO_THREAD_SAFETY_ANALYSIS {
  ShortLock &lock = lock_in(m->lock);
  lock.lock();
  if (m->readers == 0) wr_fatal_error("sync: RUnlock of unlocked RWMutex");
  Place *woken = nullptr;
  if (--m->readers == 0) {
    woken = writers_of(m).pop_front();
    if (woken != nullptr) {
      woken->next = nullptr;
      m->writer = 1;
    }
  }
  lock.unlock();
  ready_all(woken);
}

}  // extern "C"
