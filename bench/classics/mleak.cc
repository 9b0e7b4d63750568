// Claim: a great many threads, each for one block: what a thread costs, and whether it leaves anything behind; after mleak.
// Held constant: 300 times ten threads at once; each callocs 128 bytes and frees what an earlier one has left in its slot.
// Unit: one thread. Run by bench/run.py.
#include <atomic>

#include "threads.h"
#include "workload.h"

int main() {
  constexpr std::size_t kTimes = 300, kAtOnce = 10, kSlots = 1000;
  static std::atomic<void *> slots[kSlots];
  for (std::size_t time = 0; time < kTimes; ++time) {
    classics::on_threads(kAtOnce, [time](std::size_t number) {
      auto &slot = slots[(time * 7 + number * 101) % kSlots];
      std::free(slot.exchange(std::calloc(16, 8), std::memory_order_acq_rel));  // the block's content goes with the pointer
    });
  }
  for (auto &slot : slots) std::free(slot.load(std::memory_order_relaxed));  // ordered by the joins
  workload::report(kTimes * kAtOnce, kSlots);
}
