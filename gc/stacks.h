// Where a thread keeps roots: its registers, the stack it runs on, the stack libc gave it, its thread-local storage.
// Callers: threads.cc, in a stopped world, and preload/ for it; inspect/, in a copy of one. Invariant: nothing is visited that cannot
// be read, and no page is touched for the first time.
#pragma once

#include "gc/world.h"

#include <ucontext.h>

namespace warren::gc::stacks {

// What libc does not say in its headers: sizes and offsets of its control block. Once.
void set_up();
size_t control_block_bytes();

// Of a stopped thread.
struct Thread {
  uintptr_t thread_pointer;
  uintptr_t stack_pointer;  // when it was interrupted
  const ucontext_t *context;  // where its registers are; nullptr: the caller, who has them on its stack
  bool is_first;  // its id is the process's
  bool leaves_nothing = false;  // its own stack, or what is in use of it, holds nothing of the program's
};
void for_each_range(const Thread &thread, const world::FiberStacks *fibers, VisitRange visit, void *context);

// From a stack pointer to the end of that stack, which is neither a thread's nor a fiber's: a coroutine's of the program's.
void for_each_range_elsewhere(uintptr_t stack_pointer, VisitRange visit, void *context);

}  // namespace warren::gc::stacks
