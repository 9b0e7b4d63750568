// The object map: for every address at which a live block starts, one byte that names its class.
// It is what makes free both quick and safe. One load tells a block's class and that it is live;
// a second free, a pointer into a block, a stale or a made-up pointer all find 0 there. Bytes, not
// bits: two threads may free neighbouring blocks without an atomic operation.
//
//   plane    one byte for   holds                                     values
//   fine     8 bytes        tiny blocks                               kTinyClass
//                           small blocks (16 .. 1024 bytes)           1..67 the class
//   coarse   128 bytes      medium blocks (1152 .. 32768 bytes)       33..67 the class
//                           large blocks                              kLargeMark
//   both                    blocks that the heap profile has sampled  kSampledMark: the span knows the class
//
// Two planes so that each kind of block pays for its own: the bytes of a heap of 4 KiB blocks would lie far apart, but on every OS page
// of the fine plane. For the same reason that one has rows:
//
//   region of the arena, 512 KiB:   0  8 16 24 32 40 48 56 ...
//   its 64 KiB of the fine plane:   0 32 64 ...  |  8 40 72 ...  |  16 48 80 ...  |  24 56 88 ...
//
// A class whose size is a multiple of 32 has all its blocks in the first row, and pays one byte in 32; the others use two rows, and tiny
// blocks four. The page heap keeps spans of both kinds apart where it can (page_heap.cc, tracts). Where an octet's byte lies is its
// number with the low 16 bits rotated, which is one instruction. (One plane for each 16 bytes and a second one for blocks at 8 mod 16,
// both in the order of the arena: peaks of heaps of small blocks 1 to 4% higher, random_churn 2.4%, key_value 4%; free 2 instructions
// longer, malloc 1 shorter, no difference in time. Eight rows, for 0 to 56 mod 64: random_churn and perl another 0.6 and 0.2% smaller,
// but processes of 2 MiB 0.5% larger.)
//
// Callers: the fast paths in heap.h; heap_slow.cc, large.cc.
// Invariant: a byte is 0 unless a live block of that plane starts there. (Octet 0 is the exception,
// kSentinelMark.) Written by the thread that allocates or frees the block.
#pragma once

#include "allocator/base/annotations.h"
#include "allocator/hot.h"
#include "allocator/size_class.h"

namespace warren::object_map {

inline constexpr uint8_t kLargeMark = 255;
inline constexpr uint8_t kSampledMark = kSampledBin;
static_assert(kSentinelMark >= kClassCount && kSentinelMark < kLargeMark);

// In assembly since compilers make five instructions of it. The arena starts with a region, so that this serves addresses divided by 8
// as well as distances from the arena.
WARREN_ALWAYS_INLINE size_t place_of(size_t octet) {
  static_assert(kRegionOctetsLog == 16, "bits of the register's part");
  asm("rorw %[by], %w[octet]" : [octet] "+r"(octet) : [by] "i"(kRowsLog) : "cc");
  return octet;
}

constexpr bool uses_one_row(size_t object_size) { return object_size % (kTinySize << kRowsLog) == 0; }

// The marks of so many bytes of small blocks, from a multiple of it, fill a cache line of each row. (Medium blocks that two threads have
// side by side cost either of them nothing.)
inline constexpr size_t kBytesForLine = size_t{1} << (kCacheLineLog + kOctetShift + kRowsLog);

// For any address; only the parts of the plane that belong to the grown arena may be touched.
WARREN_ALWAYS_INLINE uint8_t *fine(uintptr_t block) { return arena.fine_from_zero + place_of(block >> kOctetShift); }
inline uint8_t *coarse(uintptr_t block) { return arena.coarse_from_zero + (block >> kCoarseShift); }

// The byte of a block of any class but the tiny one. Without a branch, likewise.
inline uint8_t *small_or_medium(size_t size_class, uintptr_t block) {
  const uintptr_t fine_mark = address_of(fine(block)), coarse_mark = address_of(coarse(block));
  const uintptr_t is_medium = -static_cast<uintptr_t>(size_class > kLastSmallClass);
  return at_address<uint8_t>(fine_mark + (is_medium & (coarse_mark - fine_mark)));
}

// The byte of a block of a class.
inline uint8_t *of_class(SizeClass size_class, uintptr_t block) {
  return info(size_class).object_size <= kMaxSmallSize ? fine(block) : coarse(block);
}

}  // namespace warren::object_map
