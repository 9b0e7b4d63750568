// Operations on an array of 64-bit words seen as bits. Never allocates.
// Callers: central (free bits of a span), page_heap (which free lists have members).
// Invariant: callers hold the lock that guards the words.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::bits {

inline constexpr size_t words_for(size_t count) { return (count + 63) / 64; }

inline bool test(const uint64_t *words, size_t index) { return (words[index / 64] >> (index % 64) & 1) != 0; }
inline void set(uint64_t *words, size_t index) { words[index / 64] |= uint64_t{1} << (index % 64); }
inline void clear(uint64_t *words, size_t index) { words[index / 64] &= ~(uint64_t{1} << (index % 64)); }

// Sets the first `count` bits and clears the rest of the last word.
inline void set_first(uint64_t *words, size_t count) {
  for (size_t i = 0; i < count / 64; ++i) words[i] = ~uint64_t{0};
  if (count % 64 != 0) words[count / 64] = (uint64_t{1} << (count % 64)) - 1;
}

// The first set bit at or after `from`, or `count`.
inline size_t find_set(const uint64_t *words, size_t from, size_t count) {
  if (from >= count) return count;
  size_t word = from / 64;
  uint64_t rest = words[word] & (~uint64_t{0} << (from % 64));
  while (rest == 0) {
    if (++word >= words_for(count)) return count;
    rest = words[word];
  }
  const size_t found = word * 64 + static_cast<size_t>(__builtin_ctzll(rest));
  return found < count ? found : count;
}

inline bool all_set(const uint64_t *words, size_t from, size_t end) {
  while (from < end) {
    const size_t last = (from | 63) < end ? (from | 63) : end - 1;
    const uint64_t wanted = ~uint64_t{0} >> (63 - last % 64) & ~uint64_t{0} << (from % 64);
    if ((words[from / 64] & wanted) != wanted) return false;
    from = last + 1;
  }
  return true;
}

// Set bits of a word. By hand: the processors we are built for need not have the instruction, and libgcc's function is not ours to import.
constexpr unsigned count(uint64_t word) {
  word -= word >> 1 & 0x5555555555555555;
  word = (word & 0x3333333333333333) + (word >> 2 & 0x3333333333333333);
  word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0f;
  return static_cast<unsigned>(word * 0x0101010101010101 >> 56);
}
static_assert(count(0) == 0 && count(~uint64_t{0}) == 64 && count(0x8000000000000101) == 3);

}  // namespace warren::bits
