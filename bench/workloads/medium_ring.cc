// Claim: medium buffers with a first-in-first-out life (I/O buffers, frames, rows).
// Held constant: a ring of 1,024 buffers of 2 to 32 KiB, uniform; the oldest is replaced; its first KiB is filled.
// Unit: one buffer replaced. Run by bench/run.py.
#include <vector>

#include "workload.h"

int main() {
  constexpr std::size_t kRing = 1024;
  constexpr std::uint64_t kSteps = 4'000'000;
  constexpr std::size_t kFilled = 1024;
  workload::Random random(10);
  std::vector<void *> ring(kRing, nullptr);
  std::uint64_t checksum = 0;
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    void *&block = ring[step % kRing];
    if (block != nullptr) checksum = checksum * 31 + workload::first_word(block);
    std::free(block);
    block = workload::allocate(random.between(2048, 32768), step);
    std::memset(block, static_cast<int>(step & 0x7F), kFilled);
  }
  for (void *block : ring) std::free(block);
  workload::report(kSteps, checksum);
}
