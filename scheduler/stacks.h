// What the collector may ask about fiber stacks, while every thread is stopped. Caller: gc/, through preload/.
// No lock is taken: the threads may have been stopped anywhere, inside a switch too.
// Invariant: a word on a fiber's stack lies in a range visited here, or between a stopped thread's sp and the end of
// the stack that stack_bounds_of(sp) names; where that is none, in the one of stack_of_thread().
#pragma once

#include <cstdint>

namespace warren::scheduler {

struct StackBounds {
  char *low = nullptr;
  char *high = nullptr;  // both nullptr: not a fiber's stack
};

// The stack that an address lies in, used or not.
StackBounds stack_bounds_of(const void *sp);

// For each fiber that has not ended: from where it was saved last to the end of its stack, its G included. One that
// runs has moved on since: what lies below is between its thread's sp and the end. Also callable in a running world, where
// what it visits changes, but stays readable.
//
// visit_argument, unless it is nullptr: what the fiber was started with, unless that lies on its stack.
// visit_elsewhere, likewise: the stack pointer of a fiber that was saved on another stack than its own, in a coroutine of the
// program's. Then all of its own is visited: where it was left is unknown.
void for_each_parked_stack(void (*visit)(char *low, char *high, void *context),
                           void (*visit_argument)(void *argument, void *context),
                           void (*visit_elsewhere)(char *sp, void *context), void *context);

// The stack of the fiber that this thread runs, which may be on another one at the moment. Both nullptr: it runs none.
StackBounds stack_of_thread(uintptr_t thread_pointer);

}  // namespace warren::scheduler
