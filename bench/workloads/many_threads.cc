// Claim: far more threads than cores, some of whose blocks die on another thread.
// Held constant: 64 threads of 1,000 live blocks of 16 to 1024 bytes; every eighth block is swapped with one that
// some other thread left in a shared slot. Unit: one replacement (free and malloc). Run by bench/run.py.
#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "workload.h"

namespace {

constexpr std::size_t kThreads = 64;
constexpr std::size_t kLive = 1'000;
constexpr std::uint64_t kSteps = 300'000;
constexpr std::size_t kSlots = 256;

std::array<std::atomic<void *>, kSlots> slots{};

void work(std::uint64_t seed) {
  workload::Random random(seed);
  std::vector<void *> live(kLive, nullptr);
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    void *&block = live[random.below(kLive)];
    // acq_rel: the block's content goes with the pointer, both ways.
    if (step % 8 == 0) block = slots[random.below(kSlots)].exchange(block, std::memory_order_acq_rel);
    std::free(block);
    block = workload::allocate(random.exponential(16, 1024), seed);
  }
  for (void *block : live) std::free(block);
}

}  // namespace

int main() {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kThreads; ++i) threads.emplace_back(work, 150 + i);
  for (auto &thread : threads) thread.join();
  for (auto &slot : slots) std::free(slot.load(std::memory_order_relaxed));  // ordered by the joins
  workload::report(kThreads * kSteps, kThreads * kSteps);
}
