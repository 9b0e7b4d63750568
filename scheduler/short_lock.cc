// See short_lock.h. Here: what happens when the lock is taken.
#include "scheduler/short_lock.h"

#include "allocator/base/os_calls.h"

namespace warren::scheduler {
namespace {

// The owner is done within tens of nanoseconds, unless the kernel has taken its CPU. More: burns the CPU that it
// may be waiting for. Fewer: sleeps, some 50 us, where a wait of one would have done.
constexpr int kSpins = 200;
constexpr uint64_t kShortestSleepNs = 1000;
constexpr uint64_t kLongestSleepNs = 1000000;

}  // namespace

// A sleep and not a yield: under SCHED_FIFO a yielding thread never lets an owner of lower priority run.
WARREN_COLD void ShortLock::lock_slow() NO_THREAD_SAFETY_ANALYSIS {
  uint64_t sleep_ns = kShortestSleepNs;
  for (int spin = 0;; ++spin) {
    uint32_t expected = 0;
    // relaxed: only chooses when to try; the exchange acquires.
    if (word_.load(std::memory_order_relaxed) == 0 &&
        word_.compare_exchange_weak(expected, 1, std::memory_order_acquire, std::memory_order_relaxed)) {
      return;
    }
    if (spin < kSpins) {
      __builtin_ia32_pause();
      continue;
    }
    os_calls::sleep(sleep_ns);
    if (sleep_ns < kLongestSleepNs) sleep_ns *= 2;
  }
}

}  // namespace warren::scheduler
