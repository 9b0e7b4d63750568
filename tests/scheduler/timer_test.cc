// Timers and sleep: order, stopping, resetting, periods, and the thread that fires them where no run is under way.
#include "fibers.h"
#include "scheduler/park.h"
#include "scheduler/timer.h"
#include "scheduler/timer_heap.h"

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

namespace {

using namespace fibers;
using warren::scheduler::Timer;
using warren::scheduler::TimerHeap;

TEST(TimerHeap, FiresInOrderAndOnlyWhatIsDue) {
  const unsigned seed = std::random_device{}();
  std::printf("seed %u\n", seed);  // SCOPED_TRACE lives in the thread, fibers do not
  std::mt19937 random(seed);
  TimerHeap heap;
  static std::vector<uint64_t> fired;
  fired.clear();
  std::vector<Timer> timers(2000);
  std::vector<uint64_t> expected;
  for (Timer &timer : timers) {
    timer.when = random() % 1000 + 1;
    timer.fire = [](Timer *t, uint64_t) { fired.push_back(t->when); };
    heap.add(&timer);
  }
  for (size_t i = 0; i < timers.size(); ++i) {
    if (random() % 3 == 0) {
      EXPECT_TRUE(heap.remove(&timers[i]));
      EXPECT_FALSE(heap.remove(&timers[i]));
    } else {
      expected.push_back(timers[i].when);
    }
  }
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(heap.next(), expected.front());
  for (uint64_t time = 0; time <= 1000; time += 50) {
    const uint64_t next = heap.run(time);
    const auto due = std::upper_bound(expected.begin(), expected.end(), time);
    EXPECT_EQ(fired.size(), static_cast<size_t>(due - expected.begin()));
    EXPECT_EQ(next, due == expected.end() ? warren::scheduler::kNever : *due);
  }
  EXPECT_EQ(fired, expected);
}

TEST(TimerHeap, PeriodsLeaveOutWhatWasMissed) {
  TimerHeap heap;
  static int count;
  count = 0;
  Timer timer;
  timer.when = 100;
  timer.period = 10;
  timer.fire = [](Timer *, uint64_t) { ++count; };
  heap.add(&timer);
  EXPECT_EQ(heap.run(99), 100u);
  EXPECT_EQ(count, 0);
  EXPECT_EQ(heap.run(100), 110u);
  EXPECT_EQ(count, 1);
  EXPECT_EQ(heap.run(155), 160u);
  EXPECT_EQ(count, 2);
  EXPECT_TRUE(heap.remove(&timer));
}

TEST(TimerHeap, MovesAllToAnother) {
  TimerHeap heap;
  TimerHeap other;
  std::vector<Timer> timers(100);
  for (size_t i = 0; i < timers.size(); ++i) {
    timers[i].when = 1000 - i;
    timers[i].fire = [](Timer *, uint64_t) {};
    heap.add(&timers[i]);
  }
  heap.move_to(other);
  EXPECT_EQ(heap.next(), warren::scheduler::kNever);
  EXPECT_EQ(other.next(), 901u);
  for (Timer &timer : timers) EXPECT_TRUE(other.remove(&timer));
}

TEST(Timer, SleepersWakeNoEarlierThanAskedAndAll) {
  for (const int procs : {1, 4}) {
    run_on(procs, [] {
      const unsigned seed = std::random_device{}();
      std::printf("seed %u\n", seed);  // SCOPED_TRACE lives in the thread, fibers do not
      std::mt19937 random(seed);
      std::atomic<int> done{0};
      std::atomic<int> early{0};
      for (int i = 0; i < 500; ++i) {
        const auto duration = static_cast<int64_t>(random() % 20000000);
        go([&, duration] {
          const uint64_t before = wr_now_ns();
          wr_sleep_ns(duration);
          if (wr_now_ns() < before + static_cast<uint64_t>(duration)) ++early;
          ++done;
        });
      }
      while (done != 500) wr_sleep_ns(1000000);
      EXPECT_EQ(early, 0);
    });
  }
}

TEST(Timer, SleepOfNothingOrLessReturns) {
  wr_sleep_ns(0);
  wr_sleep_ns(-5);
  run_on(1, [] {
    wr_sleep_ns(0);
    wr_sleep_ns(INT64_MIN);
    wr_sleep_until_ns(0);
    wr_sleep_until_ns(1);
  });
}

TEST(Timer, PlainThreadsSleepToo) {
  const uint64_t before = wr_now_ns();
  wr_sleep_ns(3000000);
  EXPECT_GE(wr_now_ns(), before + 3000000);
  run_on(2, [] {
    std::atomic<int> done{0};
    std::thread other([&] {
      wr_sleep_ns(3000000);
      ++done;
    });
    while (done == 0) wr_sleep_ns(1000000);
    other.join();
  });
}

struct Counting {
  Timer timer;
  std::atomic<int> fired{0};
  Counting() {
    timer.owner = this;
    timer.fire = [](Timer *t, uint64_t) { ++static_cast<Counting *>(t->owner)->fired; };
  }
};

void stop_and_reset() {
  using namespace warren::scheduler;
  Counting far;
  far.timer.when = now() + uint64_t{3600} * 1000000000;
  add(&far.timer);
  EXPECT_TRUE(remove(&far.timer));
  EXPECT_FALSE(remove(&far.timer));
  EXPECT_FALSE(reset(&far.timer, now() + uint64_t{3600} * 1000000000, 0));
  EXPECT_TRUE(reset(&far.timer, now() + 1000000, 0));  // earlier: whoever sleeps must be woken
  while (far.fired == 0) wr_sleep_ns(100000);
  EXPECT_FALSE(remove(&far.timer));
  EXPECT_EQ(far.fired, 1);

  Counting ticks;
  ticks.timer.when = now() + 1000000;
  ticks.timer.period = 1000000;
  add(&ticks.timer);
  while (ticks.fired < 5) wr_sleep_ns(100000);
  EXPECT_TRUE(remove(&ticks.timer));
  wr_sleep_ns(1000000);  // one that had begun
  const int fired = ticks.fired;
  wr_sleep_ns(5000000);
  EXPECT_EQ(ticks.fired, fired);
}

TEST(Timer, StopAndReset) {
  stop_and_reset();
  run_on(1, stop_and_reset);
  run_on(3, stop_and_reset);
}

TEST(Timer, PendingOnesOutliveTheRun) {
  static Counting timer;
  EXPECT_EQ(0, run([] {
    timer.timer.when = wr_now_ns() + 20000000;
    warren::scheduler::add(&timer.timer);
    return 0;
  }));
  while (timer.fired == 0) wr_sleep_ns(1000000);
}

TEST(Timer, ResetsFromManySides) {
  run_on(4, [] {
    const unsigned seed = std::random_device{}();
    std::printf("seed %u\n", seed);  // SCOPED_TRACE lives in the thread, fibers do not
    Counting timers[8];
    std::atomic<int> done{0};
    for (unsigned f = 0; f < 16; ++f) {
      go([&, f] {
        std::mt19937 random(seed + f);
        for (int i = 0; i < 2000; ++i) {
          Timer *timer = &timers[random() % 8].timer;
          if (random() % 3 == 0) {
            warren::scheduler::remove(timer);
          } else {
            warren::scheduler::reset(timer, wr_now_ns() + random() % 100000, random() % 4 == 0 ? 50000 : 0);
          }
          if (random() % 10 == 0) wr_yield();
        }
        ++done;
      });
    }
    await(done, 16);
    for (Counting &timer : timers) warren::scheduler::remove(&timer.timer);
    // Nothing may still be about to fire on what is about to go.
    wr_sleep_ns(5000000);
  });
}

// A thread that is about to sleep in the poll looks at the timers twice. One that is gone at the second look must not
// make it sleep beyond the time that it has told those who add timers.
TEST(Timer, OnesThatGoWhileAThreadFallsAsleep) {
  run_on(4, [] {
    const unsigned seed = std::random_device{}();
    std::printf("seed %u\n", seed);
    std::mt19937 random(seed);
    Counting timer;
    for (int i = 0; i < 3000; ++i) {
      // Wakes a thread, which finds nothing to do, and looks at the timers.
      warren::scheduler::reset(&timer.timer, wr_now_ns() + 60000, 0);
      for (auto spins = static_cast<unsigned>(random() % 1000); spins != 0; --spins) __builtin_ia32_pause();
      warren::scheduler::remove(&timer.timer);
      wr_sleep_ns(80000);
    }
    wr_sleep_ns(5000000);  // one that had begun to fire
  });
}

// Go's TimerFairness: timers fire although two fibers keep the only P busy.
TEST(Timer, FireWhileFibersYieldForEver) {
  run_on(1, [] {
    std::atomic<bool> end{false};
    std::atomic<int> done{0};
    for (int i = 0; i < 2; ++i) {
      go([&] {
        while (!end) wr_yield();
        ++done;
      });
    }
    for (int i = 0; i < 5; ++i) wr_sleep_ns(1000000);
    end = true;
    await(done, 2);
  });
}

}  // namespace
