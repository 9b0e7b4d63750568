// Where work comes from. Caller: the schedule loop. See find_runnable.cc for the list.
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
