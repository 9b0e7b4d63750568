// Claim: sets that are made, grown by realloc, thrown away in no order, and the rest dropped together; after espresso, which
// minimizes logic functions.
// Held constant: rounds of 4,000 blocks, four in five of 8 to 127 bytes, the others of 200 to 2199; after each, one of three times a
// block is grown and one of four times one is freed. Unit: one round. Run by bench/run.py.
#include <vector>

#include "workload.h"

int main() {
  constexpr std::uint64_t kRounds = 120;
  workload::Random random(9);
  std::uint64_t checksum = 0;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    std::vector<void *> live;
    for (unsigned i = 0; i < 4000; ++i) {
      const std::size_t size = random.below(10) < 8 ? random.between(8, 127) : random.between(200, 2199);
      live.push_back(workload::allocate(size, i));
      std::memset(static_cast<char *>(live.back()) + 8, 1, size - 8);
      if (random.below(3) == 0) {
        void *&grown = live[random.below(live.size())];
        grown = std::realloc(grown, random.between(64, 1063));
      }
      if (random.below(4) == 0) {
        void *&dropped = live[random.below(live.size())];
        checksum += workload::first_word(dropped);
        std::free(dropped);
        dropped = live.back();
        live.pop_back();
      }
    }
    for (void *block : live) std::free(block);
  }
  workload::report(kRounds, checksum);
}
