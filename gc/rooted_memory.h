// Memory from malloc that is a root: for values that wait inside the runtime, in rings of channels, shelves of pools, closures
// of timers. Freed by hand; the collector reads it while it lives.
// Callers: scheduler/, the C++ faces by way of wr_gc_malloc_rooted; the cycle, while the
// program runs and in a stopped world; the verifier; inspect/stuck_fibers.cc.
// Invariant: a block is in the list from before its address is known to anybody until nobody may use it.
#pragma once

#include "gc/world.h"

namespace warren::gc::rooted_memory {

void *allocate(size_t bytes);  // zeroed, aligned to 16; nullptr: no memory
void free(void *memory);       // nullptr: nothing

void for_each(VisitRange visit, void *context);

// In a copy of the process, for who wants to know what the program's own pointers lead to: takes the lists apart, which
// lead to every block and from each to others.
void forget_all();

// For fork. Where a thread that waits for them may not be waited for itself: they are inside the stop gate.
void lock_for_fork();
void unlock_after_fork(bool in_child);

}  // namespace warren::gc::rooted_memory
