// Claim: blocks with an alignment of their own: SIMD rows, cache-line counters, buffers for direct I/O.
// Held constant: 4,096 live blocks; alignments of 32 to 4096 bytes (each doubling half as likely), sizes of 1 to 16
// times the alignment; aligned_alloc and posix_memalign in turn. Unit: one block replaced. Run by bench/run.py.
#include <vector>

#include "workload.h"

int main() {
  constexpr std::size_t kLive = 4096;
  constexpr std::uint64_t kSteps = 6'000'000;
  workload::Random random(20);
  std::vector<void *> live(kLive, nullptr);
  std::uint64_t checksum = 0;
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    void *&block = live[random.below(kLive)];
    if (block != nullptr) checksum = checksum * 31 + workload::first_word(block);
    std::free(block);
    std::size_t alignment = 32;
    while (alignment < 4096 && (random.next() >> 63) != 0) alignment *= 2;
    const std::size_t size = alignment * random.between(1, 16);
    if (step % 2 == 0) {
      block = std::aligned_alloc(alignment, size);
    } else if (posix_memalign(&block, alignment, size) != 0) {
      return 1;
    }
    if (block == nullptr || reinterpret_cast<std::uintptr_t>(block) % alignment != 0) {
      std::printf("%zu bytes aligned to %zu are at %p\n", size, alignment, block);
      return 1;
    }
    workload::touch(block, size, step);
  }
  for (void *block : live) std::free(block);
  workload::report(kSteps, checksum);
}
