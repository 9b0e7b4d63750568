// Claim: big numbers of a few words that come and go by the million; after cfrac, which factors an integer by continued fractions.
// Held constant: 64 live blocks of 8 to 40 bytes, of which a step replaces one; every other step makes and drops one more at once.
// Unit: one step. Run by bench/run.py.
#include "workload.h"

int main() {
  constexpr std::uint64_t kSteps = 6'000'000;
  workload::Random random(8);
  void *live[64] = {};
  std::uint64_t checksum = 0;
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    void *&block = live[random.below(64)];
    if (block != nullptr) checksum += workload::first_word(block);
    std::free(block);
    block = workload::allocate(8 * random.between(1, 5), step);
    if (step % 2 == 0) std::free(workload::allocate(random.between(16, 47), step));
  }
  for (void *block : live) std::free(block);
  workload::report(kSteps, checksum);
}
