// Taking Ps from threads that run code which is not ours. The protocol is in m.h. Callers: sysmon.cc, world.cc,
// run.cc (once).
// Invariant: one taker at a time (LockRank::kTakeP).
#pragma once

#include "scheduler/state.h"

namespace warren::scheduler {

// Registers for remote fences. Once a process.
void prepare_taking();

// Asks the M of `p` to yield at its next runtime call.
void ask(P *p);

// Takes the P of the M that has `p`, unless that is in the runtime. The P (another one, if the M has just changed) is
// then the caller's, running and without an M. nullptr: not to be had.
P *take(P *p);

// Asks all and takes those that can be had, with one fence: `taken` is called for each.
void take_all(void (*taken)(P *p));

// In a forked child: its lock is free.
void reset_taking_in_child();

}  // namespace warren::scheduler
