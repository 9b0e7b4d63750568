// Claim: blocks of two threads on one cache line are slow, whether the allocator puts them there (active: cache-thrash) or leaves there what
// another thread has freed (passive: cache-scratch).
// Held constant: 1,000 times a block of 8 bytes is made, written to 20,000 times by all threads together, and freed.
// Arguments: threads; 1 to have each thread free a block that main has made, first. Unit: one block. Run by bench/run.py.
#include "threads.h"
#include "workload.h"

int main(int, char **arguments) {
  constexpr std::size_t kSize = 8;
  constexpr unsigned kBlocks = 1000, kWrites = 20'000;
  const std::size_t threads = classics::argument(arguments, 1);
  const bool passive = classics::argument(arguments, 2) != 0;
  std::vector<void *> handed(threads);
  for (void *&block : handed) block = workload::allocate(kSize, 1);
  classics::on_threads(threads, [&](std::size_t number) {
    if (passive) std::free(handed[number]);
    for (unsigned i = 0; i < kBlocks; ++i) {
      auto *block = static_cast<volatile char *>(workload::allocate(kSize, i));
      for (std::size_t k = 0; k < kWrites / threads; ++k) {
        for (std::size_t at = 0; at < kSize; ++at) block[at] = static_cast<char>(block[at] + 1);
      }
      std::free(const_cast<char *>(block));
    }
  });
  if (!passive) {
    for (void *block : handed) std::free(block);
  }
  workload::report(kBlocks * threads, kWrites);
}
