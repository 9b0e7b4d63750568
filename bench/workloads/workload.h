// What the workloads share: a seeded generator, the rule how a block is used, and the line the runner reads.
// Included by every file of this directory, of ../classics and of ../everyday, and by nothing else. Invariant: a workload's
// operations and its checksum depend on the seed only, never on addresses, threads or time, so every allocator does the
// same work and prints the same line.
#pragma once

#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace workload {

// xorshift64*: cheap enough not to be what is measured.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ULL | 1) {}

  std::uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1DULL;
  }

  // Uniform below `bound` (32 bits are enough for all bounds here).
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>((next() >> 32) * bound >> 32); }

  // Uniform in [low, high], both included.
  std::size_t between(std::size_t low, std::size_t high) { return low + below(high - low + 1); }

  // Between low and high, each doubling of the size half as likely as the one before (sizes as programs have them).
  std::size_t exponential(std::size_t low, std::size_t high) {
    std::size_t top = low;
    while (top < high && (next() >> 63) != 0) top *= 2;
    const std::size_t size = between(top, 2 * top - 1);
    return size < high ? size : high;
  }

 private:
  std::uint64_t state_;
};

// Uses a block as a program does at least: its first and its last word are written.
inline void touch(void *block, std::size_t size, std::uint64_t value) {
  auto *bytes = static_cast<unsigned char *>(block);
  if (size >= sizeof value) {
    std::memcpy(bytes + size - sizeof value, &value, sizeof value);
    std::memcpy(bytes, &value, sizeof value);
  } else {
    bytes[0] = static_cast<unsigned char>(value);
  }
}

// What touch() left in the first word: read back before a block is freed, so that a wrong block shows.
inline std::uint64_t first_word(const void *block) {
  std::uint64_t value;
  std::memcpy(&value, block, sizeof value);
  return value;
}

// For what may not fail.
inline void *require(void *block) {
  if (block == nullptr) {
    std::fprintf(stderr, "out of memory\n");
    std::exit(1);
  }
  return block;
}

// malloc, touched.
inline void *allocate(std::size_t size, std::uint64_t value) {
  void *block = require(std::malloc(size));
  touch(block, size, value);
  return block;
}

inline void report(std::uint64_t operations, std::uint64_t checksum) {
  std::printf("operations %" PRIu64 " checksum %016" PRIx64 "\n", operations, checksum);
}

}  // namespace workload
