// wait_group, once, cond, semaphore, defer: warren/sync.h, on tasks of either kind.
// Invariant: as in mutex_test.cc.
#include "tests/scheduler/tasks.h"

#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>

namespace warren {
namespace {

TASK_TEST(WaitGroup, WaitsForAll) {
  wait_group g;
  g.wait();
  std::atomic<int> done{0};
  Tasks tasks;
  for (int round = 0; round < 50; ++round) {  // reused at once
    done = 0;
    g.add(8);
    for (int t = 0; t < 8; ++t) {
      tasks.spawn([&] {
        done++;
        g.done();
      });
    }
    g.wait();
    EXPECT_EQ(done, 8);
    tasks.join();
  }
}

TASK_TEST(WaitGroup, ManyWait) {
  wait_group g;
  g.add(1);
  std::atomic<int> waiting{0}, through{0};
  Tasks tasks;
  for (int t = 0; t < 8; ++t) {
    tasks.spawn([&] {
      waiting++;
      g.wait();
      through++;
    });
  }
  wait_until([&] { return waiting == 8; });
  let_others_run();
  EXPECT_EQ(through, 0);
  g.done();
  tasks.join();
  EXPECT_EQ(through, 8);
}

TASK_TEST(WaitGroup, NegativeCounterPanics) {
  wait_group g;
  g.add(1);
  try {
    g.add(-2);
    ADD_FAILURE();
  } catch (const panic_error &error) {
    EXPECT_STREQ(error.what(), "sync: negative WaitGroup counter");
  }
  g.done();
  EXPECT_THROW(g.done(), panic_error);
  g.wait();
}

// The group is gone as soon as wait() returns, while the last done() may still be on its way out.
TASK_TEST(WaitGroup, DestroyedAfterWait) {
  for (int round = 0; round < 3000; ++round) {
    Tasks tasks;
    auto *g = new wait_group;
    g->add(2);
    for (int t = 0; t < 2; ++t) tasks.spawn([g] { g->done(); });
    g->wait();
    memset(static_cast<void *>(g), 0xff, sizeof *g);
    delete g;
  }
}

TASK_TEST(Once, RunsOnce) {
  for (int round = 0; round < 200; ++round) {
    once o;
    int runs = 0;
    Tasks tasks;
    for (int t = 0; t < 4; ++t) {
      tasks.spawn([&] {
        o.call([&] {
          let_others_run(3);
          runs++;
        });
        EXPECT_EQ(runs, 1) << "who comes second waits for the end of the first";
      });
    }
  }
}

TASK_TEST(Once, APanicCounts) {
  once o;
  EXPECT_THROW(o.call([] { panic("first"); }), panic_error);
  o.call([] { ADD_FAILURE() << "ran again"; });
}

TASK_TEST(Cond, SignalsInOrder) {
  mutex m;
  cond c(m);
  std::vector<int> woken;
  int waiting = 0;
  Tasks tasks;
  for (int t = 0; t < 6; ++t) {
    tasks.spawn([&, t] {
      std::lock_guard guard(m);
      waiting++;
      c.wait();
      woken.push_back(t);
    });
    wait_until([&] {
      std::lock_guard guard(m);
      return waiting == t + 1;
    });
  }
  for (size_t n = 1; n <= 6; ++n) {
    c.signal();
    wait_until([&] {
      std::lock_guard guard(m);
      return woken.size() == n;
    });
  }
  EXPECT_EQ(woken, (std::vector<int>{0, 1, 2, 3, 4, 5}));
  c.signal();
  c.broadcast();
}

TASK_TEST(Cond, BroadcastWakesAll) {
  mutex m;
  cond c(m);
  bool open = false;
  int waiting = 0, through = 0;
  Tasks tasks;
  for (int t = 0; t < 20; ++t) {
    tasks.spawn([&] {
      std::lock_guard guard(m);
      waiting++;
      c.wait([&] { return open; });
      through++;
    });
  }
  wait_until([&] {
    std::lock_guard guard(m);
    return waiting == 20;
  });
  {
    std::lock_guard guard(m);
    EXPECT_EQ(through, 0);
    open = true;
    c.broadcast();
  }
  tasks.join();
  EXPECT_EQ(through, 20);
}

// A queue with a bound: signals are neither lost nor do they wake the wrong side for good.
TASK_TEST(Cond, BoundedQueue) {
  mutex m;
  cond not_full(m), not_empty(m);
  int held = 0, produced = 0, consumed = 0;
  constexpr int kTotal = 5000;
  {
    Tasks tasks;
    for (int t = 0; t < 2; ++t) {
      tasks.spawn([&] {
        for (int i = 0; i < kTotal / 2; ++i) {
          std::lock_guard guard(m);
          not_full.wait([&] { return held < 3; });
          held++, produced++;
          not_empty.signal();
        }
      });
      tasks.spawn([&] {
        for (int i = 0; i < kTotal / 2; ++i) {
          std::lock_guard guard(m);
          not_empty.wait([&] { return held > 0; });
          held--, consumed++;
          not_full.signal();
        }
      });
    }
  }
  EXPECT_EQ(produced, kTotal);
  EXPECT_EQ(consumed, kTotal);
}

// Between its entry into the condition's queue and its park, a waiter unlocks a mutex that others fight over.
TASK_TEST(Cond, SignalsWhileTheMutexIsFoughtOver) {
  mutex m;
  cond c(m);
  int tokens = 0;
  constexpr int kEach = 4000;
  Tasks tasks;
  for (int i = 0; i < 4; ++i) {
    tasks.spawn([&] {
      for (int n = 0; n < kEach; ++n) {
        std::unique_lock<mutex> hold(m);
        while (tokens == 0) c.wait();
        --tokens;
      }
    });
    tasks.spawn([&] {
      for (int n = 0; n < kEach; ++n) {
        {
          std::unique_lock<mutex> hold(m);
          ++tokens;
        }
        c.signal();
      }
    });
  }
  tasks.join();
  EXPECT_EQ(tokens, 0);
}

TASK_TEST(Semaphore, CountsAndOrders) {
  semaphore s(3);
  s.acquire(2);
  EXPECT_TRUE(s.try_acquire());
  EXPECT_FALSE(s.try_acquire());
  EXPECT_TRUE(s.try_acquire(0));
  std::atomic<int> stage{0};
  Tasks tasks;
  tasks.spawn([&] {
    s.acquire(2);
    stage = 1;
  });
  let_others_run();
  s.release();
  let_others_run();
  EXPECT_EQ(stage, 0);
  s.release();
  tasks.join();
  EXPECT_EQ(stage, 1);
  EXPECT_THROW(s.acquire(-1), panic_error);
  s.release(3);
  EXPECT_TRUE(s.try_acquire(3));
}

TASK_TEST(Semaphore, NeverMoreThanItsNumber) {
  semaphore s(3);
  std::atomic<int> inside{0};
  {
    Tasks tasks;
    for (int t = 0; t < 6; ++t) {
      tasks.spawn([&, t] {
        const int n = 1 + t % 3;
        for (int i = 0; i < 1000; ++i) {
          s.acquire(n);
          EXPECT_LE(inside += n, 3);
          if (i % 20 == 0) let_others_run(2);
          inside -= n;
          s.release(n);
        }
      });
    }
  }
  EXPECT_TRUE(s.try_acquire(3));
}

TASK_TEST(Defer, RunsInReverseAndOnPanic) {
  std::string order;
  {
    defer first([&] { order += "1"; });
    defer second = [&] { order += "2"; };
    order += "0";
  }
  EXPECT_EQ(order, "021");
  try {
    defer deferred([&] { order += "d"; });
    panic("p");
  } catch (const panic_error &error) {
    order += error.what();
  }
  EXPECT_EQ(order, "021dp");
  EXPECT_THROW(
      {
        defer throws([] { panic("from a deferred call"); });
      },
      panic_error);
}

TEST(DeferDeathTest, PanicWhilePanicking) {
  EXPECT_EXIT(
      try {
        defer second([] { panic("second"); });
        panic("first");
      } catch (...) {
      },
      testing::ExitedWithCode(2), "panic: second");
}

}  // namespace
}  // namespace warren
