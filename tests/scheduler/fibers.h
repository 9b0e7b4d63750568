// Closures on the C ABI, for the tests of the scheduler's core.
#pragma once

#include <warren/scheduler_core.h>

#include <atomic>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace fibers {

// Sanitizers keep books on each fiber, and are slow: tests of large numbers and of memory do less there, or nothing.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

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

// How many fibers a dump shows in this state ("IO wait"): for waiting until all are where the test wants them.
inline int count_in(const char *state) {
  const int file = memfd_create("dump", 0);
  wr_dump_fibers(file);
  std::string text(static_cast<size_t>(lseek(file, 0, SEEK_END)), '\0');
  EXPECT_EQ(pread(file, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  close(file);
  int count = 0;
  const std::string mark = std::string(" [") + state;
  for (size_t at = 0; (at = text.find(mark, at)) != std::string::npos; ++at) ++count;
  return count;
}

}  // namespace fibers
