// Blocks above kMaxClassSize, or with an alignment that no class has: a span of their own.
// Callers: heap_slow.cc, realloc.cc. Invariant: the block's first byte carries kLargeMark in the coarse
// plane exactly while it is live, and the page map names its span.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::large {

struct Allocated {
  void *block;  // nullptr: no memory
  size_t dirty_bytes;  // every byte behind so many reads as zero
};

// `align`: a power of two; below kPageSize it makes no difference.
Allocated allocate(size_t size, size_t align);

// Frees a block whose mark the caller has just taken away.
void free(void *block);

size_t size_of(const void *block);

// Another size for the block, in place or elsewhere; nullptr: as before.
void *reallocate(void *block, size_t size);

struct Stats {
  uint64_t mallocs, frees, total_bytes;
};
Stats stats();

}  // namespace warren::large
