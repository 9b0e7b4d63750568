// Stopping all fibers. Callers: run.cc (start, resize, end of a run), report.cc; idle.cc and find_runnable.cc on the
// side of who is stopped.
// Invariant: while the world is stopped no fiber begins to run, every P belongs to who stopped it, and what is parked
// stays so. Threads whose P was taken go on in code that is not ours, and stop at their next runtime call that needs a
// P.
#pragma once

#include "scheduler/state.h"

namespace warren::scheduler {

// From a fiber (in the runtime), the schedule loop, or any other thread. Takes LockRank::kFiberWorld until start_world().
// False: some P has not stopped within so many nanoseconds, which only a report of the process's end should live with.
bool stop_world(uint64_t most = ~uint64_t{0});

// With so many Ps as before, or `count`. The caller's M gets its P back where there is one left.
void start_world(int count);

// Ps needed by an M that has found Scheduler::stopping: it gives its P up and sleeps.
void stop_for_world(M *m);

// In a forked child: its locks are free.
void reset_world_in_child();

// One P fewer to wait for.
void note_stopped(P *p) REQUIRES(sched.lock);

}  // namespace warren::scheduler
