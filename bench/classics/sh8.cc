// Claim: most blocks are freed by another thread than has made them; after sh8bench.
// Held constant: four threads; 20,000 slots for all; a step puts a block of 1 to 1000 bytes, half of them up to 64, into one and frees what
// was there. Unit: one step. Run by bench/run.py.
#include <atomic>

#include "threads.h"
#include "workload.h"

namespace {

constexpr std::size_t kThreads = 4, kSlots = 20'000;
constexpr std::uint64_t kSteps = 750'000;

std::atomic<void *> slots[kSlots];

void work(std::size_t number) {
  workload::Random random(number + 17);
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    const std::size_t kind = random.below(100);
    void *block = workload::allocate(random.between(1, kind < 50 ? 64 : kind < 90 ? 256 : 1000), step);
    // acq_rel: the block's content goes with the pointer, both ways.
    std::free(slots[random.below(kSlots)].exchange(block, std::memory_order_acq_rel));
  }
}

}  // namespace

int main() {
  classics::on_threads(kThreads, work);
  for (auto &slot : slots) std::free(slot.load(std::memory_order_relaxed));  // ordered by the joins
  workload::report(kThreads * kSteps, kSlots);
}
