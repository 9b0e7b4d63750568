// Starting the scheduler, resizing it, ending a run. Callers: the C ABI, fiber.cc, sysmon.cc (the option maxprocs).
// Invariant: between two runs no P is running.
#pragma once

#include "scheduler/state.h"

namespace warren::scheduler {

// The main fiber has called wr_end_fiber without having returned.
void main_fiber_ends(G *g);

}  // namespace warren::scheduler
