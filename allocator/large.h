// Blocks above kMaxClassSize, or with an alignment that no class has: a span of their own.
// Callers: heap_slow.cc, which asks the thread's large_cache.h first; realloc.cc. Invariant: the block's first byte carries kLargeMark in
// the coarse plane exactly while it is live, and the page map names its span.
#pragma once

#include "allocator/large_cache.h"

#include <cstddef>
#include <cstdint>

namespace warren {
struct Span;
}

namespace warren::large {

struct Allocated {
  void *block;  // nullptr: no memory
  size_t dirty_bytes;  // every byte behind so many reads as zero
};

// `align`: a power of two; below kPageSize it makes no difference.
Allocated allocate(size_t size, size_t align);

// The same with a span from a thread's cache, of just the pages that the size needs.
Allocated reuse(Span *span);

// Frees a block whose mark the caller has just taken away.
void free(void *block);

size_t size_of(const void *block);

// Another size for the block, in place or elsewhere; nullptr: as before.
void *reallocate(void *block, size_t size);

struct Stats {
  uint64_t mallocs, frees, total_bytes;
  uint64_t held_bytes;  // free, in threads' caches
};
Stats stats();

// What a cache has counted that goes, in the moment that it leaves the registry.
void count_retired(const LargeCache::Figures &figures);

}  // namespace warren::large
