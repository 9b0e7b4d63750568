// Counting what the heap holds, without a counter on any fast path but the frees of a bin.
// Callers: wr_read_mem_stats, mallinfo, malloc_info, the table at exit.
// Invariant: blocks allocated = blocks freed + blocks out of the centrals - blocks in caches.
#pragma once

#include "warren/allocator.h"

namespace warren::stats {

void read(wr_mem_stats &out);

// The table of `stats=exit` and malloc_stats.
void print(int fd);

// One JSON object with the fields of wr_mem_stats under their names; by_size holds the classes that were used.
void print_json(const wr_mem_stats &now, int fd);

}  // namespace warren::stats
