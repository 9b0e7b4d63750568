// Closures on the C ABI, for the tests of the scheduler's core.
#pragma once

#include <warren/scheduler_core.h>

#include <atomic>
#include <functional>
#include <gtest/gtest.h>
#include <utility>

namespace fibers {

inline void call(void *closure) {
  auto *f = static_cast<std::function<void()> *>(closure);
  (*f)();
  delete f;
}

inline int go(std::function<void()> f, const wr_fiber_options *options = nullptr) {
  auto *closure = new std::function<void()>(std::move(f));
  const int error = wr_go(call, closure, options);
  if (error != 0) delete closure;
  return error;
}

inline int run(std::function<int()> f) {
  return wr_run([](void *closure) { return (*static_cast<std::function<int()> *>(closure))(); }, &f);
}

// Runs f as the main fiber on `procs` Ps.
inline void run_on(int procs, std::function<void()> f) {
  const int before = wr_max_procs(procs);
  EXPECT_EQ(0, run([&] {
    f();
    return 0;
  }));
  wr_max_procs(before);
}

// Waits, yielding, until the counter has come to `goal`.
inline void await(const std::atomic<int> &counter, int goal) {
  while (counter.load() < goal) wr_yield();
}

}  // namespace fibers
