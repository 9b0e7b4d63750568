// Where values lie that wait inside the runtime: rings of channels, shelves of pools.
// Callers: channel.cc, pool.cc. The one place to change when the collector offers memory that it scans and never frees.
// Invariant: aligned to 16 bytes; freed by free_element_memory only.
#pragma once

#include <cstddef>
#include <cstdlib>

namespace warren::scheduler {

// Zeroed. nullptr: no memory.
inline void *element_memory(size_t bytes) { return calloc(1, bytes); }
inline void free_element_memory(void *memory) { free(memory); }

}  // namespace warren::scheduler
