// wr_mutex to the other files of the scheduler. Callers: once.cc (a mutex that waits for another reason), cond.cc.
// Invariant: see mutex.cc.
#pragma once

#include "scheduler/park.h"

#include <warren/sync.h>

namespace warren::scheduler {

void lock_mutex(wr_mutex *m, WaitReason reason);

}  // namespace warren::scheduler
