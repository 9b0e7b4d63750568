// Claim: a long-lived heap where any block may die next; cache misses count as much as instructions.
// Held constant: 200,000 live blocks of 16 to 512 bytes, uniform; each step replaces one chosen at random.
// Unit: one replacement (free and malloc). Run by bench/run.py.
#include <vector>

#include "workload.h"

int main() {
  constexpr std::size_t kLive = 200'000;
  constexpr std::uint64_t kSteps = 5'000'000;
  workload::Random random(2);
  std::uint64_t checksum = 0;
  std::vector<void *> live(kLive);
  for (auto &block : live) block = workload::allocate(random.between(16, 512), 1);
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    void *&block = live[random.below(kLive)];
    checksum = checksum * 31 + workload::first_word(block);
    std::free(block);
    block = workload::allocate(random.between(16, 512), step);
  }
  for (void *block : live) std::free(block);
  workload::report(kSteps, checksum);
}
