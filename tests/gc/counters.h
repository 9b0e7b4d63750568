// Threads whose standing still can be seen, and waiting for a thread to get somewhere. Run by the tests of the world.
// Invariant: waiting has no deadline of its own; the test's ends it.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <sched.h>
#include <thread>
#include <vector>

namespace warren::gc {

inline void await(const std::atomic<int> &what, int value) {
  while (what < value) sched_yield();
}

// Threads that count while they run. They yield, or on few processors whoever stops them would wait for its turn most
// of the time.
class Counters {
 public:
  explicit Counters(size_t count) : counts_(count) {
    for (size_t i = 0; i < count; ++i) {
      threads_.emplace_back([this, i] {
        while (!stop_) {
          if (counts_[i].fetch_add(1, std::memory_order_relaxed) % 64 == 0) sched_yield();
        }
      });
    }
    for (auto &count_now : counts_) {
      while (count_now == 0) sched_yield();
    }
  }
  ~Counters() {
    stop_ = true;
    for (std::thread &thread : threads_) thread.join();
  }
  uint64_t sum() const {
    uint64_t total = 0;
    for (const auto &count : counts_) total += count;
    return total;
  }

 private:
  std::atomic<bool> stop_{false};
  std::vector<std::atomic<uint64_t>> counts_;
  std::vector<std::thread> threads_;
};

inline void expect_still(const Counters &counters) {
  const uint64_t before = counters.sum();
  for (int i = 0; i < 20; ++i) sched_yield();
  EXPECT_EQ(counters.sum(), before);
}

}  // namespace warren::gc
