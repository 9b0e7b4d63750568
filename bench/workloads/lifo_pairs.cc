// Claim: the hit path of malloc and free, when a block just freed is asked for again.
// Held constant: one size at a time (16, 32 ... 1024 bytes), at most four blocks live, freed last in first out.
// Unit: one malloc and its free. Run by bench/run.py.
#include "workload.h"

int main() {
  constexpr std::size_t kDepth = 4;
  constexpr std::uint64_t kRoundsPerSize = 300'000;
  std::uint64_t operations = 0;
  std::uint64_t checksum = 0;
  for (std::size_t size = 16; size <= 1024; size += 16) {
    for (std::uint64_t round = 0; round < kRoundsPerSize; ++round) {
      void *blocks[kDepth];
      for (std::size_t i = 0; i < kDepth; ++i) blocks[i] = workload::allocate(size, round + i);
      for (std::size_t i = kDepth; i-- > 0;) {
        checksum += workload::first_word(blocks[i]);
        std::free(blocks[i]);
      }
    }
    operations += kDepth * kRoundsPerSize;
  }
  workload::report(operations, checksum);
}
