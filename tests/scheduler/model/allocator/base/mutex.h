// Stands in for allocator/base/mutex.h in the model. Caller: the sources under test, which find this file first.
// Invariant: as model_lock.h.
#pragma once

#include "allocator/base/lock_rank.h"
#include "tests/scheduler/model/model_lock.h"

namespace warren {

class Mutex : public ModelLock {
 public:
  constexpr explicit Mutex(LockRank) {}
  bool take_from_the_gone() { return false; }  // nobody forks here
};

using MutexLock = ModelLockGuard;

}  // namespace warren
