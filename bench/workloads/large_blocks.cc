// Claim: large buffers come and go (images, columns, network messages); warm pages are worth more than fresh ones.
// Held constant: 4 live blocks of 5 to 25 MiB, uniform; one byte of every 4 KiB page is written, so all of it is real.
// Unit: one block replaced. Run by bench/run.py.
#include <array>

#include "workload.h"

int main() {
  constexpr std::size_t kMiB = 1 << 20;
  constexpr std::size_t kOsPage = 4096;
  constexpr std::uint64_t kSteps = 400;
  workload::Random random(9);
  std::array<unsigned char *, 4> live{};
  std::uint64_t checksum = 0;
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    unsigned char *&block = live[random.below(live.size())];
    if (block != nullptr) checksum = checksum * 31 + workload::first_word(block);
    std::free(block);
    const std::size_t size = random.between(5 * kMiB, 25 * kMiB);
    block = static_cast<unsigned char *>(workload::allocate(size, step));
    for (std::size_t offset = kOsPage; offset < size; offset += kOsPage) {
      block[offset] = static_cast<unsigned char>(step);
    }
  }
  for (unsigned char *block : live) std::free(block);
  workload::report(kSteps, checksum);
}
