// Finding out that no fiber can ever run again. Callers: idle.cc, when a thread goes to sleep; kernel_threads.cc, when
// one ends; sysmon.cc.
// Invariant: nothing is reported while a timer, a descriptor, or a thread that is not the scheduler's could still wake
// one.
#pragma once

#include "scheduler/state.h"

namespace warren::scheduler {

// A quick look: every thread that runs fibers sleeps.
bool nobody_runs() REQUIRES(sched.lock);

// The same, but for one that may sleep in the network's poll until a timer is due that is gone.
bool only_a_poller_runs() REQUIRES(sched.lock);

// If it does, it is woken, and looks for itself.
void rouse_poller();

// Looks closely, and ends the process if it is so. Where something can still wake a fiber now, sysmon looks again later.
void report_deadlock();

// sysmon's: looks again if there was reason to. Returns after how many nanoseconds to come back, 0: not at all.
uint64_t look_again_for_deadlock();

}  // namespace warren::scheduler
