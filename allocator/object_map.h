// The object map: for every address at which a live block starts, one byte that names its class.
// It is what makes free both quick and safe. One load tells a block's class and that it is live;
// a second free, a pointer into a block, a stale or a made-up pointer all find 0 there. Bytes, not
// bits: two threads may free neighbouring blocks without an atomic operation.
//
//   plane    one byte for   holds                                     values
//   fine     16 bytes       small blocks (16 .. 1024 bytes)           1..67 the class
//                           tiny blocks that start at 0 mod 16        kTinyClass
//   odd      16 bytes       tiny blocks that start at 8 mod 16        kTinyClass
//   coarse   128 bytes      medium blocks (1152 .. 32768 bytes)       33..67 the class
//                           large blocks                              kLargeMark
//   both                    blocks that the heap profile has sampled  kSampledMark: the span knows the class
//
// Three planes so that each kind of block pays for its own: a byte in 16 is 6% of a heap of small
// blocks, and would be for one of 4 KiB blocks, whose bytes lie far apart but on every OS page.
//
// Callers: the fast paths in heap.h; heap_slow.cc, large.cc.
// Invariant: a byte is 0 unless a live block of that plane starts there. (Granule 0 is the exception,
// kSentinelMark.) Written by the thread that allocates or frees the block.
#pragma once

#include "allocator/hot.h"
#include "allocator/size_class.h"

namespace warren::object_map {

inline constexpr uint8_t kLargeMark = 255;
inline constexpr uint8_t kSampledMark = kSampledBin;
static_assert(kSentinelMark >= kClassCount && kSentinelMark < kLargeMark);

// For any address; only the parts of the plane that belong to the grown arena may be touched.
inline uint8_t *fine(uintptr_t block) { return arena.fine_from_zero + (block >> kFineShift); }
inline uint8_t *coarse(uintptr_t block) { return arena.coarse_from_zero + (block >> kCoarseShift); }
inline uint8_t *odd(uintptr_t block) { return arena.odd + ((block - arena.start) >> kFineShift); }

inline bool is_odd(uintptr_t block) { return (block & (kMinAlign - 1)) == kTinySize; }
// Without a branch, which nobody could foretell.
inline uint8_t *tiny(uintptr_t block) {
  const uintptr_t to_plane = -((block / kTinySize) & 1) & (address_of(arena.odd) - address_of(arena.fine));
  return at_address<uint8_t>(address_of(fine(block)) + to_plane);
}

// A small or tiny block's byte, by the block's distance from the arena in tiny blocks. In assembly since what tells the planes apart is
// the bit that the shift drops. Compilers make it a branch, or the sum of the two, for which there is no need.
class OctetMark {
 public:
  __attribute__((always_inline)) explicit OctetMark(size_t octet) : plane_(arena.fine), granule_(octet) {
    asm("shr %[granule]\n\t"
        "cmovc %[odd], %[plane]"
        : [granule] "+r"(granule_), [plane] "+r"(plane_)
        : [odd] "m"(arena.odd)
        : "cc");
  }

  __attribute__((always_inline)) size_t get() const {
    size_t mark;
    asm volatile("movzbl (%[plane],%[granule]), %k[mark]" : [mark] "=r"(mark) : [plane] "r"(plane_), [granule] "r"(granule_) : "memory");
    return mark;
  }

  __attribute__((always_inline)) void clear() const {
    asm volatile("movb $0, (%[plane],%[granule])" : : [plane] "r"(plane_), [granule] "r"(granule_) : "memory");
  }

 private:
  uint8_t *plane_;
  size_t granule_;
};

// The byte of a block of any class but the tiny one. Without a branch, likewise.
inline uint8_t *small_or_medium(size_t size_class, uintptr_t block) {
  const uintptr_t fine_mark = address_of(fine(block)), coarse_mark = address_of(coarse(block));
  const uintptr_t is_medium = -static_cast<uintptr_t>(size_class > kLastSmallClass);
  return at_address<uint8_t>(fine_mark + (is_medium & (coarse_mark - fine_mark)));
}

// The byte of a block of a class.
inline uint8_t *of_class(SizeClass size_class, uintptr_t block) {
  if (size_class.value == kTinyClass) return tiny(block);
  return info(size_class).object_size <= kMaxSmallSize ? fine(block) : coarse(block);
}

}  // namespace warren::object_map
