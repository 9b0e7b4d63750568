// wr_once: the slow half; callers look at `done` themselves. Invariant: `done` is written once, by the one that holds
// the mutex.
#include "scheduler/mutex.h"

#include <atomic>

using namespace warren::scheduler;

extern "C" {

int wr_once_begin(wr_once *o) {
  std::atomic_ref<uint32_t> done(o->done);
  if (done.load(std::memory_order_acquire) != 0) return 0;  // pairs with the release in wr_once_end
  if (wr_mutex_try_lock(&o->mutex) == 0) lock_mutex(&o->mutex, WaitReason::kOnce);
  if (done.load(std::memory_order_relaxed) == 0) return 1;  // written under the mutex
  wr_mutex_unlock(&o->mutex);
  return 0;
}

void wr_once_end(wr_once *o) {
  // release: what was done comes before; pairs with the acquire in wr_once_begin and of the callers.
  std::atomic_ref<uint32_t>(o->done).store(1, std::memory_order_release);
  wr_mutex_unlock(&o->mutex);
}

}  // extern "C"
