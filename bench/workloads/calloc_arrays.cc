// Claim: zeroed arrays: what an allocator knows about memory that is zero already saves the clearing.
// Held constant: 256 live arrays of 64 bytes to 1 MiB (each doubling half as likely), one word of each OS page written.
// Unit: one array replaced. Run by bench/run.py.
#include <vector>

#include "workload.h"

int main() {
  constexpr std::size_t kLive = 256;
  constexpr std::size_t kStride = 4096 / sizeof(std::uint64_t);
  constexpr std::uint64_t kSteps = 5'000'000;
  workload::Random random(11);
  std::vector<std::uint64_t *> live(kLive, nullptr);
  std::uint64_t checksum = 0;
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    std::uint64_t *&array = live[random.below(kLive)];
    std::free(array);
    const std::size_t count = random.exponential(64, 1 << 20) / sizeof(std::uint64_t);
    array = static_cast<std::uint64_t *>(std::calloc(count, sizeof(std::uint64_t)));
    if (array == nullptr) return 1;
    checksum = checksum * 31 + array[0] + array[count / 2] + array[count - 1];  // all zero, or the lines differ
    for (std::size_t i = 0; i < count; i += kStride) array[i] = step;
    array[count - 1] = step;
  }
  for (std::uint64_t *array : live) std::free(array);
  workload::report(kSteps, checksum);
}
