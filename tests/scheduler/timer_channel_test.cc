// timer, ticker, after, after_func: warren/timer.h, on tasks of either kind.
// Invariant: what is asserted holds however late everything runs: nothing fires early, and what was stopped never.
#include "tests/scheduler/tasks.h"

#include <chrono>
#include <memory>

namespace warren {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

TASK_TEST(Timer, FiresOnceAndNotEarly) {
  const time_point start = steady_clock::now();
  timer t(5ms);
  const std::optional<time_point> time = t.c.recv();
  ASSERT_TRUE(time);
  EXPECT_GE(*time - start, 5ms);
  EXPECT_LE(*time, steady_clock::now());
  EXPECT_FALSE(t.stop()) << "it has fired, and its time was received";
  time_point out;
  EXPECT_EQ(t.c.try_recv(out), recv_status::empty);
}

TASK_TEST(Timer, ZeroAndNegativeFireAtOnce) {
  for (const std::chrono::nanoseconds d : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
    timer t(d);
    EXPECT_TRUE(t.c.recv());
  }
  EXPECT_TRUE(after(std::chrono::hours::min()).recv());
}

TASK_TEST(Timer, StopAndReset) {
  timer t(1h);
  EXPECT_TRUE(t.stop());
  EXPECT_FALSE(t.stop());
  EXPECT_FALSE(t.reset(1h));
  EXPECT_TRUE(t.reset(1ms));
  EXPECT_TRUE(t.c.recv());
  EXPECT_FALSE(t.reset(std::chrono::hours::max())) << "far away, and not in the past";
  let_others_run();
  time_point out;
  EXPECT_EQ(t.c.try_recv(out), recv_status::empty);
  EXPECT_TRUE(t.stop());
}

// As in Go since 1.23: what was sent before stop or reset is not received after.
TASK_TEST(Timer, NothingStaleAfterStopOrReset) {
  for (int i = 0; i < 20; ++i) {
    timer t(1ns);
    if (i % 2 == 0) sleep_for(1ms);
    if (t.stop()) {
      time_point out;
      EXPECT_EQ(t.c.try_recv(out), recv_status::empty);
    }
    t.reset(1ns);
    if (i % 3 == 0) sleep_for(1ms);
    const time_point start = steady_clock::now();
    t.reset(2ms);
    EXPECT_GE(*t.c.recv() - start, 2ms);
  }
}

// Stop and reset against a firing that has begun. Each round ends with exactly one time, or none.
TASK_TEST(Timer, RacesWithItsFiring) {
  for (int i = 0; i < 2000; ++i) {
    timer t(std::chrono::nanoseconds(i * 50));
    if (i % 3 == 0) yield();
    switch (i % 4) {
      case 0: t.stop(); break;
      case 1:
        t.reset(0ns);
        t.c.recv();
        break;
      case 2: {
        t.reset(1h);
        time_point out;
        EXPECT_EQ(t.c.try_recv(out), recv_status::empty);
        break;
      }
      default: t.c.recv(); break;
    }
  }
}

TASK_TEST(Timer, SharedByTasks) {
  timer t(1h);
  {
    Tasks tasks;
    for (int k = 0; k < 3; ++k) {
      tasks.spawn([t, k]() mutable {
        for (int i = 0; i < 500; ++i) {
          if (k == 0) {
            t.stop();
          } else {
            t.reset(std::chrono::microseconds(i % 20));
          }
          time_point out;
          if (i % 10 == 0) t.c.try_recv(out);
          yield();
        }
      });
    }
  }
  t.reset(1ms);
  EXPECT_TRUE(t.c.recv());
}

TASK_TEST(Timer, ChannelOutlivesItsTimer) {
  chan<time_point> c = timer(2ms).c;
  EXPECT_TRUE(c.recv());
  chan<time_point> forgotten = timer(1h).c;
  forgotten = {};
  for (int i = 0; i < 1000; ++i) after(1h);
  for (int i = 0; i < 1000; ++i) after(std::chrono::microseconds(i % 7));
}

TASK_TEST(Timer, InSelect) {
  chan<int> never = make_chan<int>();
  EXPECT_EQ(select(on_recv(never), on_recv(after(2ms))), 1);
  timer slow(1h);
  EXPECT_EQ(select(on_recv(slow.c), on_recv(after(1ms)), on_recv(never)), 1);
}

TASK_TEST(Ticker, TicksDropsAndStops) {
  const time_point start = steady_clock::now();
  ticker t(2ms);
  time_point last = start;
  for (int i = 0; i < 5; ++i) {
    const time_point time = *t.c.recv();
    EXPECT_GT(time, last);
    last = time;
  }
  EXPECT_GE(last - start, 10ms);
  sleep_for(12ms);
  EXPECT_LE(t.c.len(), 1u) << "ticks nobody receives are left out";
  t.reset(3ms);
  EXPECT_TRUE(t.c.recv());
  t.stop();
  time_point out;
  EXPECT_EQ(t.c.try_recv(out), recv_status::empty);
  sleep_for(8ms);
  EXPECT_EQ(t.c.try_recv(out), recv_status::empty);
  t.reset(1ms);
  EXPECT_TRUE(t.c.recv());
  try {
    ticker bad(0ns);
    ADD_FAILURE();
  } catch (const panic_error &error) {
    EXPECT_STREQ(error.what(), "non-positive interval for NewTicker");
  }
  EXPECT_THROW(t.reset(-1s), panic_error);
}

TASK_TEST(Ticker, RacesWithStopAndReset) {
  ticker t(20us);
  {
    Tasks tasks;
    tasks.spawn([t]() mutable {
      for (int i = 0; i < 2000; ++i) {
        t.stop();
        t.reset(std::chrono::microseconds(1 + i % 20));
        yield();
      }
    });
    tasks.spawn([c = t.c] {
      time_point out;
      for (int i = 0; i < 2000; ++i) {
        c.try_recv(out);
        yield();
      }
    });
  }
  for (int i = 0; i < 20; ++i) t.c.recv();  // it ticks still
  for (int i = 0; i < 20; ++i) {
    ticker forgotten(1us);
    if (i % 2 == 0) forgotten.c.recv();
  }
}

TASK_TEST(AfterFunc, RunsOnATaskOfItsOwn) {
  chan<int> done = make_chan<int>();
  const auto here = std::this_thread::get_id();
  const uint64_t me = fiber_id();
  timer t = after_func(1ms, [=] {
    EXPECT_TRUE(std::this_thread::get_id() != here || fiber_id() != me);
    sleep_for(1ms);  // it may wait
    done.send(1);
  });
  EXPECT_EQ(done.recv(), 1);
  EXPECT_FALSE(t.c);
  EXPECT_FALSE(t.stop());
  EXPECT_FALSE(t.reset(1ms));
  EXPECT_EQ(done.recv(), 1) << "again";
}

TASK_TEST(AfterFunc, StoppedNeverRuns) {
  const auto token = std::make_shared<int>(0);
  {
    timer t = after_func(1h, [token] { ADD_FAILURE(); });
    EXPECT_EQ(token.use_count(), 2);
    EXPECT_TRUE(t.stop());
    EXPECT_FALSE(t.stop());
  }
  EXPECT_EQ(token.use_count(), 1) << "the function is destroyed with the last handle";
  chan<int> done = make_chan<int>();
  after_func(1ms, [done] { done.send(1); });  // without a handle it runs
  EXPECT_EQ(done.recv(), 1);
}

TASK_TEST(Sleep, InOrder) {
  std::atomic<int> woken{0};
  Tasks tasks;
  for (int i = 0; i < 5; ++i) {
    tasks.spawn([&] {
      const time_point start = steady_clock::now();
      sleep_for(3ms);
      EXPECT_GE(steady_clock::now() - start, 3ms);
      const time_point until = steady_clock::now() + 1ms;
      sleep_until(until);
      EXPECT_GE(steady_clock::now(), until);
      sleep_for(0ms);
      sleep_for(-1h);
      sleep_until(start);
      woken++;
    });
  }
  tasks.join();
  EXPECT_EQ(woken, 5);
}

}  // namespace
}  // namespace warren
