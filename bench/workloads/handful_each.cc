// Claim: two threads that each have only a handful of blocks do not write to one cache line, neither in the blocks nor in what the
// allocator knows of them.
// Held constant: one size at a time (16, 48 ... 496 bytes), two new threads for each, four blocks live in each, allocated and freed in turn.
// Unit: one malloc and its free. Run by bench/run.py.
#include "workload.h"

#include <barrier>
#include <thread>

namespace {

constexpr std::size_t kDepth = 4;
constexpr std::uint64_t kRounds = 100'000;

std::uint64_t rounds_of(std::size_t size) {
  std::uint64_t checksum = 0;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    void *blocks[kDepth];
    for (std::size_t i = 0; i < kDepth; ++i) blocks[i] = workload::allocate(size, round + i);
    for (void *block : blocks) {
      checksum += workload::first_word(block);
      std::free(block);
    }
  }
  return checksum;
}

}  // namespace

int main() {
  std::uint64_t operations = 0;
  std::uint64_t checksums[2] = {};
  for (std::size_t size = 16; size < 512; size += 32) {
    std::barrier start(2);
    const auto run = [&](std::uint64_t *checksum) {
      start.arrive_and_wait();
      *checksum += rounds_of(size);
    };
    std::thread first(run, &checksums[0]), second(run, &checksums[1]);
    first.join();
    second.join();
    operations += 2 * kDepth * kRounds;
  }
  workload::report(operations, checksums[0] + checksums[1]);
}
