// Boehm's collector. Included by the programs of this directory by way of -DHEAP; see heap_malloc.h for what each
// means.
// Its header renames pthread_create, so it comes before any use of that.
#pragma once

#define GC_THREADS
#include <gc.h>

#include <cstddef>
#include <cstdint>

namespace heap {

constexpr bool kMustDrop = false;

inline void start() { GC_INIT(); }
inline void *make(std::size_t size) { return GC_MALLOC(size); }
inline void drop(void *) {}
inline std::uint64_t cycles() { return GC_get_gc_no(); }

}  // namespace heap
