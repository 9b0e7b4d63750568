// The kernel threads of the scheduler. Callers: idle.cc (machines), run.cc, sysmon.cc, timer_thread.cc, name_lookup.cc.
// Invariant: each is a pthread, because it runs the program's code, and has a signal stack of its own.
#pragma once

#include "scheduler/state.h"

namespace warren::scheduler::threads {

// The signal mask of who runs the scheduler is every machine's.
void keep_signal_mask();

// A new machine that begins with `p`. False: no thread to be had.
bool start_machine(P *p, bool spinning);

// A thread that runs body() for ever, with all signals blocked but the collector's.
bool start_plain(void (*body)(), const char *name);

// One that runs body(argument), which comes to an end.
bool start_plain(void *(*body)(void *argument), void *argument, const char *name);

}  // namespace warren::scheduler::threads
