// What the fast paths do to a bin, each step as the one instruction that x86-64 has for it.
// Written in assembly because compilers compute a bin's address once, into a register that they then lack, where the
// processor adds base and index in the access itself for nothing: 16 and 20 instructions became 20 and 21.
// Caller: heap.h. Invariant: touches the cache it is given and nothing else.
#pragma once

#include "allocator/cache.h"

#include <cstddef>
#include <cstdint>

namespace warren::bin {

// The block on top, or the sentinel.
inline __attribute__((always_inline)) void *top_block(const CacheHead *cache, size_t bin) {
  void *block;
  asm("mov %c[top](%[cache],%[bin],8), %[block]\n\t"
      "mov -8(%[block]), %[block]"
      : [block] "=&a"(block)  // where a function's result goes
      : [cache] "r"(cache), [bin] "r"(bin), [top] "i"(offsetof(CacheHead, top)), "m"(*cache));
  return block;
}

inline __attribute__((always_inline)) void lower_top(CacheHead *cache, size_t bin) {
  asm("subq $8, %c[top](%[cache],%[bin],8)"
      : "+m"(*cache)
      : [cache] "r"(cache), [bin] "r"(bin), [top] "i"(offsetof(CacheHead, top))
      : "cc");
}

// Of sampling.h. True: the countdown is below zero.
inline __attribute__((always_inline)) bool count_down(CacheHead *cache, size_t bytes) {
  bool below;
  asm("subq %[bytes], %c[countdown](%[cache])"
      : "+m"(*cache), "=@ccs"(below)
      : [cache] "r"(cache), [bytes] "r"(bytes), [countdown] "i"(offsetof(CacheHead, countdown)));
  return below;
}

inline __attribute__((always_inline)) void raise_top(CacheHead *cache, size_t bin) {
  asm("addq $8, %c[top](%[cache],%[bin],8)"
      : "+m"(*cache)
      : [cache] "r"(cache), [bin] "r"(bin), [top] "i"(offsetof(CacheHead, top))
      : "cc");
}

inline __attribute__((always_inline)) void count_free(CacheHead *cache, size_t bin) {
  asm("incq %c[frees](%[cache],%[bin],8)"
      : "+m"(*cache)
      : [cache] "r"(cache), [bin] "r"(bin), [frees] "i"(offsetof(CacheHead, frees))
      : "cc");
}

}  // namespace warren::bin
