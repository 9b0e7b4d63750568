// Memory from malloc that is a root: for values that wait inside the runtime, in rings of channels, shelves of pools, closures
// of timers. Freed by hand; the collector reads it while it lives.
// Callers: scheduler/, the C++ faces by way of wr_gc_malloc_rooted; the cycle, in a stopped world.
// Invariant: a block is in the list from before its address is known to anybody until nobody may use it.
#pragma once

#include "gc/world.h"

namespace warren::gc::rooted_memory {

void *allocate(size_t bytes);  // zeroed, aligned to 16; nullptr: no memory
void free(void *memory);       // nullptr: nothing

void for_each(VisitRange visit, void *context);

// For fork. Called after the heap's and before the world's: its locks are inside the stop gate, where no thread may wait for the
// collector.
void install_fork_handlers();

}  // namespace warren::gc::rooted_memory
