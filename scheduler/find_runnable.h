// Where work comes from. Callers: the schedule loop; timer.cc and idle.cc, which wake the poller. See
// find_runnable.cc for the list.
#pragma once

#include "scheduler/state.h"

namespace warren::scheduler {

struct Found {
  G *g;
  bool inherits_slice;
};

// The next fiber for this M; sleeps until there is one. {nullptr}: the thread is to end.
Found next_fiber(M *m);

// A timer at `when` has become the first of a heap: whoever sleeps in the network's poll may be sleeping too long.
void wake_poller(uint64_t when);

}  // namespace warren::scheduler
