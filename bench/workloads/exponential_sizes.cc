// Claim: all sizes at once, in the proportions programs show: each doubling of the size is half as likely.
// Held constant: 131,072 slots, sizes of 8 bytes to 256 KiB; a random slot is filled if empty, else emptied.
// Unit: one malloc or free. Run by bench/run.py.
#include <vector>

#include "workload.h"

int main() {
  constexpr std::size_t kSlots = 131'072;
  constexpr std::uint64_t kSteps = 20'000'000;
  workload::Random random(16);
  std::vector<void *> slots(kSlots, nullptr);
  std::uint64_t checksum = 0;
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    void *&block = slots[random.below(kSlots)];
    if (block == nullptr) {
      block = workload::allocate(random.exponential(8, 256 << 10), step);
    } else {
      checksum = checksum * 31 + workload::first_word(block);
      std::free(block);
      block = nullptr;
    }
  }
  for (void *block : slots) std::free(block);
  workload::report(kSteps, checksum);
}
