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

// What a thread with a P and no fiber does before it gives up the P, a little at a time: the collector's, told by preload/.
struct IdleWork {
  bool (*wanted)(unsigned busy, unsigned processors);  // so many Ps, of so many, are not idle, this one among them
  void (*do_some)();                                   // some tens of microseconds
};
void set_idle_work(const IdleWork *work);  // must stay

// A timer at `when` has become the first of a heap: whoever sleeps in the network's poll may be sleeping too long.
void wake_poller(uint64_t when);

}  // namespace warren::scheduler
