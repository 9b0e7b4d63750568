// Where values lie that wait inside the runtime: rings of channels, shelves of pools. The collector sees them there.
// Callers: channel.cc, pool.cc.
// Invariant: aligned to 16 bytes; freed by free_element_memory only.
#pragma once

#include "gc/rooted_memory.h"

#include <cstddef>

namespace warren::scheduler {

// Zeroed. nullptr: no memory.
inline void *element_memory(size_t bytes) { return gc::rooted_memory::allocate(bytes); }
inline void free_element_memory(void *memory) { gc::rooted_memory::free(memory); }

}  // namespace warren::scheduler
