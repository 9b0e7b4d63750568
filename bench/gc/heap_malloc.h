// malloc and free: what the collectors are measured against. Included by the programs of this directory by way of
// -DHEAP.
// What each heap has: start(), before anything else; make(), a block that may hold pointers, not said to be zero;
// drop(), after which nobody reads the block; kMustDrop, whether it has to be called; cycles() so far.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace heap {

constexpr bool kMustDrop = true;

inline void start() {}
inline void *make(std::size_t size) { return std::malloc(size); }
inline void drop(void *block) { std::free(block); }
inline std::uint64_t cycles() { return 0; }

}  // namespace heap
