// Timers where no run is under way: a heap and one thread of its own, made when it is first needed.
// Callers: timer.cc; run.cc leaves its timers here. Invariant: the thread sleeps unless a timer is due.
#pragma once

#include "scheduler/timer_heap.h"

namespace warren::scheduler::timer_thread {

TimerHeap &heap();

// Looks at the heap again, in which a timer has become the first.
void wake();

bool pending();

// In a forked child: it has no thread, and no timers.
void reset_in_child();

}  // namespace warren::scheduler::timer_thread
