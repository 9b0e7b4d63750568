// Starting the scheduler, resizing it, ending a run. Callers: the C ABI (wr_conf_set, too), fiber.cc, inspect/stuck_fibers.cc.
// Invariant: between two runs no P is running.
#pragma once

#include "scheduler/state.h"

namespace warren::scheduler {

// The main fiber has called wr_end_fiber without having returned.
void main_fiber_ends(G *g);

// The option maxprocs may be another now.
void follow_maxprocs();

// From wr_run until it returns.
bool in_a_run();

// In a forked child, if the parent was not: its Ms are gone.
void reset_in_child();

// From now on called on the main fiber when a run's main function has returned, before its fibers are forgotten.
void at_end_of_main(void (*hook)());

}  // namespace warren::scheduler
