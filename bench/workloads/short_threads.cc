// Claim: what a thread's first and last allocation cost: caches are set up and torn down 20,000 times.
// Held constant: 8 threads at a time, 50 blocks of 16 to 1024 bytes each, all freed before the thread ends.
// Unit: one thread with its 50 mallocs and frees. Run by bench/run.py.
#include <array>
#include <thread>

#include "workload.h"

namespace {

constexpr std::size_t kBlocks = 50;

void short_life(std::uint64_t seed, std::uint64_t &sum) {
  workload::Random random(seed);
  std::array<void *, kBlocks> blocks;
  for (void *&block : blocks) block = workload::allocate(random.between(16, 1024), seed);
  for (void *block : blocks) {
    sum += workload::first_word(block);
    std::free(block);
  }
}

}  // namespace

int main() {
  constexpr std::size_t kAtATime = 8;
  constexpr std::uint64_t kThreads = 20'000;
  std::uint64_t checksum = 0;
  for (std::uint64_t done = 0; done < kThreads; done += kAtATime) {
    std::array<std::uint64_t, kAtATime> sums{};
    std::array<std::thread, kAtATime> threads;
    for (std::size_t i = 0; i < kAtATime; ++i) threads[i] = std::thread(short_life, done + i + 1, std::ref(sums[i]));
    for (std::size_t i = 0; i < kAtATime; ++i) {
      threads[i].join();
      checksum += sums[i];
    }
  }
  workload::report(kThreads, checksum);
}
