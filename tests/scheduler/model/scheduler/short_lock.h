// Stands in for scheduler/short_lock.h in the model. Caller: the sources under test, which find this file first.
// Invariant: as model_lock.h.
#pragma once

#include "tests/scheduler/model/model_lock.h"

#include <atomic>

namespace warren::scheduler {

using ShortLock = ModelLock;
using ShortLockGuard = ModelLockGuard;

}  // namespace warren::scheduler
