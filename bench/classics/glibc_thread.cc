// Claim: each thread replaces blocks of its own at random, the smaller the more often; after the C library's bench-malloc-thread.
// Held constant: two threads of 1,024 slots; sizes of 4 to 32,768 bytes, the chance of one falling with its square; all of it is written.
// Unit: one replacement. Run by bench/run.py.
#include "threads.h"
#include "workload.h"

namespace {

constexpr std::size_t kThreads = 2, kSlots = 1024;
constexpr std::uint64_t kSteps = 2'500'000;

void work(std::size_t number) {
  workload::Random random(number + 1);
  std::vector<std::size_t> sizes(8000);
  for (std::size_t &size : sizes) {
    constexpr double kFew = 1.0 / 4, kMany = 1.0 / 32768;
    const double chance = static_cast<double>(random.below(1'000'000)) / 1'000'000;
    size = static_cast<std::size_t>(1 / ((kMany - kFew) * chance + kFew));
  }
  std::vector<std::size_t> order(4096);
  for (std::size_t &slot : order) slot = random.below(kSlots);
  void *slots[kSlots] = {};
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    void *&block = slots[order[step % order.size()]];
    std::free(block);
    const std::size_t size = sizes[step % sizes.size()];
    block = workload::allocate(size, step);
    std::memset(block, static_cast<int>(step & 0xff), size);
  }
  for (void *block : slots) std::free(block);
}

}  // namespace

int main() {
  classics::on_threads(kThreads, work);
  workload::report(kThreads * kSteps, kSlots);
}
