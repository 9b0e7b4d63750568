// A thread that collects. Run by tests of what happens meanwhile. Invariant: a cycle is complete when it is counted.
#pragma once

#include "warren/gc.h"

#include <atomic>
#include <cstdint>
#include <sched.h>
#include <thread>

namespace warren::gc_tests {

// Collects without a break until it is destroyed.
class Cycles {
 public:
  Cycles() {
    thread_ = std::thread([this] {
      while (!over_) {
        wr_gc_collect();
        ++count_;
      }
    });
    await_more(1);
  }
  ~Cycles() {
    over_ = true;
    thread_.join();
  }
  uint64_t count() const { return count_; }
  void await_more(uint64_t count) const {
    const uint64_t wanted = count_ + count;
    while (count_ < wanted) sched_yield();
  }

 private:
  std::atomic<bool> over_{false};
  std::atomic<uint64_t> count_{0};
  std::thread thread_;
};

}  // namespace warren::gc_tests
