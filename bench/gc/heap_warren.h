// warren's collector. Included by the programs of this directory by way of -DHEAP; see heap_malloc.h for what each
// means.
#pragma once

#include <warren/allocator.h>
#include <warren/gc.h>

#include <cstddef>
#include <cstdint>

namespace heap {

constexpr bool kMustDrop = false;

inline void start() {}
inline void *make(std::size_t size) { return wr_gc_malloc(size); }
inline void drop(void *) {}

inline std::uint64_t cycles() {
  static wr_mem_stats stats;
  wr_read_mem_stats(&stats);
  return stats.num_gc;
}

}  // namespace heap
