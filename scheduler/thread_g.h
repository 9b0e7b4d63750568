// Plain threads as the primitives see them: each has a G of its own, made at its first call, that parks on a futex.
// Caller: park.cc. Invariant: a thread's G lives as long as the thread's pthread destructors run.
#pragma once

#include "scheduler/g.h"

namespace warren::scheduler {

G *thread_g();
void park_thread(bool (*unlock)(G *g, void *argument), void *argument, WaitReason reason);
void ready_thread(G *g);

}  // namespace warren::scheduler
