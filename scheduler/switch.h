// From one fiber to the next. Callers: park.cc, fiber.cc, the schedule loop.
//
// Where the local queue has another fiber, the switch goes straight there; else to the M's own stack and its
// schedule loop. Either way what is to become of the fiber left behind (put into a queue, unlock, free) happens on the
// other side, when its stack is saved and nobody runs on it: finish_switch().
// Invariant: the M is in the runtime during a switch, so its P stays.
#pragma once

#include "scheduler/m.h"

namespace warren::scheduler {

// Leaves the running fiber; returns when it goes on, with the M it then runs on.
M *switch_away(M *m, After after);

// To be called first thing wherever a switch can arrive.
void finish_switch(M *m);

// The schedule loop's: runs `g` on this thread until something is to be decided there again.
void execute(M *m, G *g, bool inherits_slice);

}  // namespace warren::scheduler
