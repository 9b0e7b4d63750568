// Claim: large blocks that come and go: what a first touch of their pages costs, and how much the allocator keeps; after malloc-large.
// Held constant: 500 blocks of 5 to 25 MiB, of which twenty live at a time, each page written once; or, with the argument 1, 2,000 of 2 MiB,
// one at a time, written as a whole. Unit: one block. Run by bench/run.py.
#include "threads.h"
#include "workload.h"

namespace {

constexpr std::size_t kMiB = 1 << 20, kPage = 4096;

void mixed() {
  workload::Random random(5);
  void *live[20] = {};
  for (unsigned i = 0; i < 500; ++i) {
    void *&block = live[random.below(20)];
    std::free(block);
    const std::size_t size = random.between(5 * kMiB, 25 * kMiB);
    block = workload::allocate(size, i);
    for (std::size_t at = 0; at < size; at += kPage) static_cast<volatile char *>(block)[at] = 1;
  }
  for (void *block : live) std::free(block);
}

void equal() {
  for (unsigned i = 0; i < 2000; ++i) {
    void *block = workload::allocate(2 * kMiB, i);
    std::memset(block, static_cast<int>(i & 0xff), 2 * kMiB);
    asm volatile("" : : "r"(block) : "memory");
    std::free(block);
  }
}

}  // namespace

int main(int, char **arguments) {
  if (classics::argument(arguments, 1) == 0) {
    mixed();
  } else {
    std::thread(equal).join();
  }
  workload::report(classics::argument(arguments, 1) == 0 ? 500 : 2000, 0);
}
