// Claim: server threads that inherit each other's objects (after larson): most frees are of another thread's block.
// Held constant: 4 threads, 4 sets of 10,000 live blocks of 10 to 500 bytes; after each round every thread goes on
// with its neighbour's set. Unit: one replacement (free and malloc). Run by bench/run.py.
#include <barrier>
#include <thread>
#include <vector>

#include "workload.h"

int main() {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kLivePerSet = 10'000;
  constexpr std::size_t kRounds = 50;
  constexpr std::uint64_t kStepsPerRound = 50'000;
  std::vector<std::vector<void *>> sets(kThreads, std::vector<void *>(kLivePerSet, nullptr));
  std::vector<std::uint64_t> sums(kThreads, 0);
  std::barrier round_end(kThreads);

  auto serve = [&](std::size_t self) {
    workload::Random random(60 + self);
    std::uint64_t sum = 0;
    for (std::size_t round = 0; round < kRounds; ++round) {
      auto &set = sets[(self + round) % kThreads];
      for (std::uint64_t step = 0; step < kStepsPerRound; ++step) {
        void *&block = set[random.below(kLivePerSet)];
        if (block != nullptr) sum += workload::first_word(block);
        std::free(block);
        block = workload::allocate(random.between(10, 500), step);
      }
      round_end.arrive_and_wait();
    }
    sums[self] = sum;
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kThreads; ++i) threads.emplace_back(serve, i);
  for (auto &thread : threads) thread.join();

  std::uint64_t checksum = 0;
  for (const std::uint64_t sum : sums) checksum += sum;
  for (auto &set : sets) {
    for (void *block : set) std::free(block);
  }
  workload::report(kThreads * kRounds * kStepsPerRound, checksum);
}
