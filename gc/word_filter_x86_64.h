// Which of four words may be addresses in the arena, by their upper halves: most words of most heaps are not, and need no more.
// SSE2, which every x86-64 has.
//
// Caller: marker.cc. Invariant: a word that is an address in the arena passes. Others do, too: within 4 GiB of it.
#pragma once

#include "allocator/base/annotations.h"
#include "gc/page_tags.h"

#include <emmintrin.h>

namespace warren::gc {

class WordFilter {
 public:
  static constexpr size_t kWords = 4;

  // The bias makes the only comparison there is, of signed numbers, one of unsigned ones.
  WARREN_ALWAYS_INLINE explicit WordFilter(uintptr_t start, size_t bytes)
      : low_(_mm_set1_epi32(static_cast<int>(static_cast<uint32_t>(start >> 32) + kBias))),
        most_(_mm_set1_epi32(static_cast<int>((static_cast<uint32_t>((start + bytes) >> 32) - static_cast<uint32_t>(start >> 32)) ^ kBias))) {}

  // One bit each, the first word's lowest.
  WARREN_ALWAYS_INLINE unsigned candidates(uintptr_t at) const {
    const __m128 first = load(at), second = load(at + sizeof(__m128));
    const __m128i upper = _mm_castps_si128(_mm_shuffle_ps(first, second, _MM_SHUFFLE(3, 1, 3, 1)));
    const __m128i beyond = _mm_cmpgt_epi32(_mm_sub_epi32(upper, low_), most_);
    return static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(beyond))) ^ 0xf;
  }

 private:
  static constexpr uint32_t kBias = 0x80000000;

  // Not by an intrinsic: the program may be writing to the words, and no sanitizer may mind.
  WARREN_ALWAYS_INLINE static __m128 load(uintptr_t at) {
    __m128 words;
    asm("movups %1, %0" : "=x"(words) : "m"(*at_address<const char[sizeof(__m128)]>(at)));
    return words;
  }

  __m128i low_, most_;
};

}  // namespace warren::gc
