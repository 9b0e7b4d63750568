// Claim: an allocator gives memory back when the program frees it all and then does nothing more.
// Held constant: as many MiB as the first argument says, in blocks of 16 bytes to 1 MiB (each doubling of the size
// takes as many bytes), all written, all freed in the order they were made; then as many seconds of sleep as the second
// argument says. No allocation during the sleep: what happens then is the allocator's own doing.
// Run by bench/measure.py, which reads the resident memory from outside. Invariant: nothing live when it sleeps.
#include <chrono>
#include <thread>

#include "workload.h"

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  const std::size_t goal = std::strtoull(argv[1], nullptr, 10) << 20;
  const std::chrono::seconds rest(std::strtoull(argv[2], nullptr, 10));
  workload::Random random(17);
  void *first = nullptr;  // the blocks are chained through their first word: no table beside them
  void **last = &first;
  std::size_t bytes = 0;
  std::uint64_t blocks = 0;
  while (bytes < goal) {
    const std::size_t size = random.exponential(16, 1 << 20);
    void *block = workload::allocate(size, 0);
    std::memset(block, 1, size);
    *last = block;
    last = static_cast<void **>(block);
    *last = nullptr;
    bytes += size;
    ++blocks;
  }
  while (first != nullptr) {
    void *next = *static_cast<void **>(first);
    std::free(first);
    first = next;
  }
  std::this_thread::sleep_for(rest);
  workload::report(blocks, bytes);
}
