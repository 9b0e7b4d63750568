// Claim: groups of equal blocks, made and freed in order, by the main thread and by another one; after the C library's bench-malloc-simple.
// Held constant: groups of 25, 100, 400 and 1,600 blocks of 16, 32, 64 and 128 bytes, all of which is written. Unit: one block.
// Run by bench/run.py.
#include "threads.h"
#include "workload.h"

namespace {

constexpr std::uint64_t kBlocks = 1'000'000;  // of each size in groups of each length

void work(std::size_t size) {
  void *group[1600];
  for (const std::size_t length : {25, 100, 400, 1600}) {
    for (std::uint64_t made = 0; made < kBlocks; made += length) {
      for (std::size_t i = 0; i < length; ++i) {
        group[i] = workload::allocate(size, i);
        std::memset(group[i], 1, size);
      }
      for (std::size_t i = 0; i < length; ++i) std::free(group[i]);
    }
  }
}

}  // namespace

int main() {
  for (const std::size_t size : {16, 32, 64, 128}) {
    work(size);
    std::thread(work, size).join();
  }
  workload::report(kBlocks * 4 * 4 * 2, 0);
}
