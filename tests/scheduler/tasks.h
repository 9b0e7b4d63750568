// Tasks: the tests of channels and locks run twice, on plain threads and on fibers. The build says which:
// WARREN_TEST_FIBERS. Run by most tests in this folder. Invariant: the body of a TASK_TEST and each spawned function
// run on a task.
#pragma once

#include <warren/scheduler.h>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <thread>
#include <unistd.h>
#include <vector>

namespace warren {

#ifdef WARREN_TEST_FIBERS
constexpr bool kFibers = true;
#else
constexpr bool kFibers = false;
#endif

// A hang is a failure: SIGALRM ends the process.
constexpr unsigned kWatchdogSeconds = 110;

template <class Body>
void on_task(Body body) {
  alarm(kWatchdogSeconds);
#ifdef WARREN_TEST_FIBERS
  run(body);
#else
  body();
#endif
  alarm(0);
}

class Tasks {
 public:
  Tasks() = default;
  Tasks(const Tasks &) = delete;
  Tasks &operator=(const Tasks &) = delete;
  ~Tasks() { join(); }

  template <class F>
  void spawn(F f) {
#ifdef WARREN_TEST_FIBERS
    running_.fetch_add(1);
    go([this, f = std::move(f)]() mutable {
      f();
      running_.fetch_sub(1);
    });
#else
    threads_.emplace_back(std::move(f));
#endif
  }

  void join() {
    while (running_.load() != 0) yield();
    for (std::thread &thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  std::atomic<int> running_{0};
  std::vector<std::thread> threads_;
};

// A chance for the others to get where they are going. No test depends on its being enough.
inline void let_others_run(int times = 50) {
  for (int i = 0; i < times; ++i) yield();
}

// For what will happen sooner or later; if not, the watchdog ends the test.
template <class Condition>
void wait_until(Condition condition) {
  while (!condition()) yield();
}

}  // namespace warren

#define TASK_TEST(suite, name)                     \
  static void suite##name##Body();                 \
  TEST(suite, name) { ::warren::on_task(suite##name##Body); } \
  static void suite##name##Body()
