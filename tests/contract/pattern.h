// Contents that show where they belong: bytes that depend on a seed and on the position, written over a block
// and looked for again. Used by cases that move or reuse blocks. Invariant: nothing here allocates.
#pragma once

#include <cstddef>
#include <cstring>

namespace contract {

inline constexpr size_t kWholePattern = 65536;  // up to here every byte is written, above it a sample:
inline constexpr size_t kEdge = 64;             // so many bytes at both ends
inline constexpr size_t kSamples = 64;          // and so many single bytes between them

inline unsigned char pattern_at(size_t seed, size_t at) { return static_cast<unsigned char>((seed + at) * 167 + (at >> 8)); }

// The byte of the sample that follows `at`.
inline size_t next_sample(size_t at, size_t size) {
  const size_t stride = (size - 2 * kEdge) / kSamples;
  if (at + 1 < kEdge || at + kEdge >= size) return at + 1;
  return at + stride + kEdge < size ? at + stride : size - kEdge;
}

inline void write_pattern(unsigned char *block, size_t size, size_t seed) {
  if (size <= kWholePattern) {
    for (size_t at = 0; at < size; ++at) block[at] = pattern_at(seed, at);
  } else {
    for (size_t at = 0; at < size; at = next_sample(at, size)) block[at] = pattern_at(seed, at);
  }
}

// Whether the bytes below `end` of a block that had `size` bytes still are the pattern.
inline bool has_pattern(const unsigned char *block, size_t size, size_t end, size_t seed) {
  unsigned wrong = 0;
  if (end > size) end = size;
  if (size <= kWholePattern) {
    for (size_t at = 0; at < end; ++at) wrong |= static_cast<unsigned>(block[at] ^ pattern_at(seed, at));
  } else {
    for (size_t at = 0; at < end; at = next_sample(at, size)) wrong |= static_cast<unsigned>(block[at] ^ pattern_at(seed, at));
  }
  return wrong == 0;
}

inline bool all_zero(const unsigned char *block, size_t size) {
  return size == 0 || (block[0] == 0 && memcmp(block, block + 1, size - 1) == 0);
}

}  // namespace contract
