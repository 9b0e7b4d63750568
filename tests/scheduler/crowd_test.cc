// Numbers at which schedulers break: waiters woken at once, stacks that are not to be had, calls that never wait, and
// nothing to do at all.
#include "fibers.h"

#include <warren/scheduler.h>

#include <cerrno>
#include <cstdio>
#include <dlfcn.h>
#include <fcntl.h>
#include <fstream>
#include <optional>
#include <pthread.h>
#include <random>
#include <sys/resource.h>
#include <thread>

namespace {

std::atomic<bool> no_threads_left{false};
std::atomic<int> threads_refused{0};

}  // namespace

// In place of libc's: fails where a test says so.
extern "C" int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
  if (no_threads_left) {
    ++threads_refused;
    return EAGAIN;
  }
  static const auto of_libc = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return of_libc(thread, attributes, body, argument);
}

namespace {

using namespace fibers;
using warren::chan;
using warren::make_chan;
using warren::wait_group;

size_t address_space() {
  std::ifstream file("/proc/self/statm");
  size_t pages = 0;
  file >> pages;
  return pages * 4096;
}

int fibers_until_none_is_to_be_had() {
  const size_t room = address_space() + (size_t{96} << 20);
  const rlimit limit{room, room};
  if (setrlimit(RLIMIT_AS, &limit) != 0) return 1;
  for (int i = 0; i < 1000000; ++i) {
    const int error = wr_go([](void *) { wr_select(nullptr, 0, 1); }, nullptr, nullptr);
    if (error != 0) return error == -ENOMEM && i > 16 ? 7 : 2;
    if (i % 16 == 0) wr_yield();
  }
  return 3;
}

TEST(CrowdDeathTest, StartingFailsWhereThereIsNoMemory) {
  if (kSanitized) GTEST_SKIP() << "they need all addresses";
  EXPECT_EXIT(_exit(fibers::run(fibers_until_none_is_to_be_had)), testing::ExitedWithCode(7), "");
}

// By a queue and not by recursion: each would take a frame.
TEST(Crowd, ManyAreWokenAtOnce) {
  static constexpr int kWaiters = kSanitized ? 500 : 20000;
  warren::run([] {
    const chan<int> closed = make_chan<int>();
    wait_group held, through;
    held.add(1);
    std::atomic<int> woken{0};
    for (int i = 0; i < kWaiters; ++i) {
      through.go([&, i] {
        if (i % 2 == 0) {
          EXPECT_FALSE(closed.recv().has_value());
        } else {
          held.wait();
        }
        ++woken;
      });
      if (i % 256 == 0) wr_yield();
    }
    closed.close();
    held.done();
    through.wait();
    EXPECT_EQ(woken.load(), int{kWaiters});
  });
}

// Each primitive with a hundred thousand in its queue, who then all go on; on one P, where a park is done before the switch, and
// on several.
class AHundredThousand : public testing::TestWithParam<int> {
 protected:
  static constexpr int kFibers = kSanitized ? 300 : 100000;

  // Starts that many fibers of wait(i), each of which counts when it is through; calls wake() when all of them wait.
  static void wait_and_wake(const char *what, const std::function<void(int)> &wait, const std::function<void()> &wake) {
    run_on(GetParam(), [&] {
      std::atomic<int> about_to_wait{0}, through{0};
      for (int i = 0; i < kFibers; ++i) {
        warren::go([&, i] {
          ++about_to_wait;
          wait(i);
          ++through;
        });
        if (i % 256 == 0) wr_yield();
      }
      await(about_to_wait, kFibers);
      for (int i = 0; i < 100; ++i) wr_yield();  // the last have a moment to get there; whoever has not must come through, too
      EXPECT_EQ(through.load(), 0) << what;
      wake();
      await(through, kFibers);
      while (wr_fiber_count() != 1) wr_yield();
    });
  }
};

TEST_P(AHundredThousand, Receivers) {
  const chan<int> c = make_chan<int>();
  wait_and_wake("receive", [&](int) { EXPECT_FALSE(c.recv().has_value()); }, [&] { c.close(); });
}

TEST_P(AHundredThousand, ReceiversWithAValueEach) {
  const chan<int> c = make_chan<int>();
  std::atomic<int64_t> sum{0};
  wait_and_wake("receive", [&](int) { sum += *c.recv(); }, [&] {
    for (int i = 0; i < kFibers; ++i) c.send(i);
  });
  EXPECT_EQ(sum.load(), int64_t{kFibers} * (kFibers - 1) / 2);
}

TEST_P(AHundredThousand, Senders) {
  const chan<int> c = make_chan<int>(2);
  c.send(0);
  c.send(0);
  std::atomic<int> refused{0};
  const auto send = [&](int i) {
    try {
      c.send(i);
    } catch (const warren::panic_error &error) {
      EXPECT_STREQ(error.what(), "send on closed channel");
      ++refused;
    }
  };
  wait_and_wake("send", send, [&] {
    for (int i = 0; i < kFibers / 2; ++i) EXPECT_TRUE(c.recv());
    c.close();
  });
  EXPECT_EQ(refused.load(), kFibers - kFibers / 2);
}

TEST_P(AHundredThousand, Selects) {
  const chan<int> one = make_chan<int>(), other = make_chan<int>(1), nil;
  const auto take = [&](int) {
    warren::select(warren::on_recv(one), warren::on_recv(nil), warren::on_recv(other));
  };
  wait_and_wake("select", take, [&] {
    for (int i = 0; i < kFibers / 2; ++i) i % 2 == 0 ? one.send(i) : other.send(i);
    one.close();
  });
  other.close();
}

TEST_P(AHundredThousand, Mutex) {
  warren::mutex m;
  int inside = 0;
  m.lock();
  const auto enter = [&](int i) {
    m.lock();
    EXPECT_EQ(++inside, 1);
    if (i % 1000 == 0) wr_yield();
    --inside;
    m.unlock();
  };
  wait_and_wake("lock", enter, [&] { m.unlock(); });
  EXPECT_TRUE(m.try_lock());
  m.unlock();
}

TEST_P(AHundredThousand, ReadersAndWriters) {
  warren::rw_mutex m;
  std::atomic<int> readers{0}, writers{0};
  m.lock();
  const auto enter = [&](int i) {
    if (i % 100 == 0) {
      m.lock();
      EXPECT_EQ(++writers, 1);
      EXPECT_EQ(readers.load(), 0);
      --writers;
      m.unlock();
    } else {
      m.lock_shared();
      ++readers;
      EXPECT_EQ(writers.load(), 0);
      --readers;
      m.unlock_shared();
    }
  };
  wait_and_wake("rw lock", enter, [&] { m.unlock(); });
  EXPECT_TRUE(m.try_lock());
  m.unlock();
}

TEST_P(AHundredThousand, Conditions) {
  warren::mutex m;
  warren::cond c(m);
  bool go_on = false;
  const auto wait = [&](int) {
    m.lock();
    while (!go_on) c.wait();
    m.unlock();
  };
  wait_and_wake("cond", wait, [&] {
    m.lock();
    go_on = true;
    m.unlock();
    c.signal();
    c.broadcast();
  });
}

TEST_P(AHundredThousand, SemaphoreGroupAndContext) {
  warren::semaphore s(0);
  warren::wait_group group;
  group.add(1);
  const auto [context, cancel] = warren::with_cancel(warren::background());
  const auto wait = [&, context = context](int i) {
    switch (i % 3) {
      case 0: s.acquire(); break;
      case 1: group.wait(); break;
      default: EXPECT_FALSE(context.done().recv()); break;
    }
  };
  wait_and_wake("semaphore, group, context", wait, [&, cancel = cancel] {
    s.release((kFibers + 2) / 3);
    group.done();
    cancel();
  });
}

// All at one moment, and some of those that would sleep on are woken before.
TEST_P(AHundredThousand, Sleepers) {
  const chan<int> early = make_chan<int>();
  const uint64_t moment = wr_now_ns() + 500000000;  // comes while they are being started, where the machine is slow
  const auto sleep = [&](int i) {
    if (i % 2 == 0) {
      wr_sleep_until_ns(moment);
    } else {
      EXPECT_EQ(0, warren::select(warren::on_recv(early), warren::on_recv(warren::after(std::chrono::hours(1)))));
    }
  };
  run_on(GetParam(), [&] {
    warren::wait_group all;
    for (int i = 0; i < kFibers; ++i) all.go([&, i] { sleep(i); });
    early.close();
    all.wait();
  });
}

INSTANTIATE_TEST_SUITE_P(Ps, AHundredThousand, testing::Values(1, 3));

// One P and several have ways of their own to park, to yield and to lock; here they change in the midst of it.
TEST(Crowd, ResizesWhileEveryPrimitiveIsAtWork) {
  const unsigned seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  run_on(1, [seed] {
    constexpr int kItems = kSanitized ? 3000 : 100000;
    const chan<int> first = make_chan<int>(), second = make_chan<int>(7);
    warren::mutex m;
    warren::cond turned(m);
    warren::semaphore places(2);
    wait_group pipeline, others;
    std::atomic<bool> end{false};
    int turn = 0;
    int64_t sum = 0;
    pipeline.go([&] {
      for (int i = 0; i < kItems; ++i) first.send(i);
      first.close();
    });
    pipeline.go([&] {
      for (const int value : first) second.send(value);
      second.close();
    });
    pipeline.go([&] {
      const chan<int> never;
      for (bool open = true; open;) {
        warren::select(warren::on_recv(never), warren::on_recv(second, [&](std::optional<int> value) {
                         open = value.has_value();
                         sum += value.value_or(0);
                       }));
      }
    });
    for (int mine = 0; mine < 2; ++mine) {
      others.go([&, mine] {
        for (m.lock(); !end; turn = 1 - mine, turned.broadcast()) {
          while (turn != mine && !end) turned.wait();
        }
        m.unlock();
      });
    }
    for (int i = 0; i < 4; ++i) {
      others.go([&] {
        while (!end) {
          places.acquire();
          wr_yield();
          places.release();
        }
      });
    }
    std::mt19937 random(seed);
    std::atomic<bool> through{false};
    go([&] {
      pipeline.wait();
      through = true;
    });
    do {
      wr_max_procs(random() % 2 == 0 ? 1 : static_cast<int>(random() % 4) + 1);
      for (uint32_t i = random() % 8; i != 0; --i) wr_yield();
    } while (!through);
    m.lock();
    end = true;
    turned.broadcast();
    m.unlock();
    others.wait();
    EXPECT_EQ(sum, int64_t{kItems} * (kItems - 1) / 2);
  });
}

// Go's TestGCFairness: short calls without a wait between them are in nobody's way.
TEST(Crowd, CallsThatNeverWaitLeaveRoomForOthers) {
  run_on(1, [] {
    const int null = open("/dev/null", O_WRONLY);
    std::atomic<bool> end{false};
    std::atomic<int> done{0};
    go([&] {
      while (!end) EXPECT_EQ(1, write(null, "x", 1));
      ++done;
    });
    for (int i = 0; i < 3; ++i) wr_yield();
    end = true;
    await(done, 1);
    close(null);
  });
}

// Who looks at the pair each 10 ms finds it in a call that has just begun, and each hands the rest of its turn to the other.
TEST(Crowd, APairInShortBlockingCallsLeavesRoomForOthers) {
  run_on(1, [] {
    constexpr int kMost = 30000;
    const chan<int> c = make_chan<int>();
    std::atomic<bool> end{false};
    std::atomic<int> rounds{0}, done{0};
    go([&] {
      while (!end && rounds < kMost) {
        c.send(++rounds);
        warren::blocking([] { usleep(10); });
      }
      c.close();
      ++done;
    });
    go([&] {
      while (c.recv()) {
      }
      ++done;
    });
    wr_sleep_ns(150000000);  // until nobody looks more often
    rounds = 0;
    for (int i = 0; i < 10; ++i) wr_yield();
    EXPECT_LT(rounds, kMost);
    end = true;
    await(done, 2);
  });
}

// Go's TestYieldLockedProgress.
TEST(Crowd, LockedFibersThatYieldLetOthersRun) {
  run_on(1, [] {
    std::atomic<bool> end{false};
    std::atomic<int> done{0};
    for (int i = 0; i < 3; ++i) {
      go([&] {
        wr_lock_os_thread();
        while (!end) wr_yield();
        ++done;  // and ends without an unlock
      });
    }
    for (int i = 0; i < 10; ++i) wr_yield();
    end = true;
    await(done, 3);
  });
}

// How often threads of this process went to sleep, those that have ended since included.
uint64_t context_switches() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_nvcsw);
}

// Fibers that have something to do keep to the threads that run: in what follows the others are woken now and then by the
// watchman's slices, and not by each yield or hand-over.
constexpr int kRounds = 50000;
constexpr uint64_t kFew = kRounds / 10;

TEST(Crowd, YieldsWakeNobody) {
  if (kSanitized) GTEST_SKIP() << "they have threads of their own";
  run_on(4, [] {
    std::atomic<int> done{0};
    const uint64_t before = context_switches();
    for (int i = 0; i < 2; ++i) {
      go([&] {
        for (int round = 0; round < kRounds; ++round) wr_yield();
        ++done;
      });
    }
    while (done != 2) wr_sleep_ns(1000000);
    EXPECT_LT(context_switches() - before, kFew);
  });
}

TEST(Crowd, APairHandsOverWithoutWakingThreads) {
  if (kSanitized) GTEST_SKIP() << "they have threads of their own";
  run_on(4, [] {
    const chan<int> there = make_chan<int>(), back = make_chan<int>();
    go([&] {
      for (const int value : there) back.send(value);
    });
    const uint64_t before = context_switches();
    for (int round = 0; round < kRounds; ++round) {
      there.send(round);
      back.recv();
    }
    EXPECT_LT(context_switches() - before, kFew);
    there.close();
  });
}

// More fibers block than there are threads, and there are no more to be had. The rest wait until the first come back; then
// threads are started as before.
TEST(Crowd, BlockingCallsWhereNoThreadIsToBeHad) {
  run_on(2, [] {
    constexpr int kFibers = 60;
    std::atomic<bool> release{false};
    std::atomic<int> done{0}, inside{0};
    threads_refused = 0;
    std::thread releaser([&] {
      while (threads_refused == 0) usleep(1000);
      release = true;
    });
    no_threads_left = true;
    for (int i = 0; i < kFibers; ++i) {
      go([&] {
        wr_enter_blocking();
        while (!release) usleep(1000);
        wr_exit_blocking();
        ++done;
      });
    }
    while (done != kFibers) wr_sleep_ns(1000000);
    no_threads_left = false;
    for (int i = 0; i < kFibers; ++i) {
      go([&] {
        wr_enter_blocking();
        ++inside;
        while (inside < kFibers) usleep(1000);
        wr_exit_blocking();
        ++done;
      });
    }
    while (done != 2 * kFibers) wr_sleep_ns(1000000);
    wr_enter_blocking();
    releaser.join();
    wr_exit_blocking();
  });
}

int outlive_a_run_without_threads() {
  warren::run([] {
    static warren::timer timer = warren::after_func(std::chrono::milliseconds(1), [] { _exit(7); });
    no_threads_left = true;
  });
  std::this_thread::sleep_for(std::chrono::hours(1));
  return 1;
}

TEST(CrowdDeathTest, ATimersThreadIsWaitedFor) {
  EXPECT_EXIT(
      {
        std::thread([] {
          while (threads_refused < 3) usleep(1000);
          no_threads_left = false;
        }).detach();
        _exit(outlive_a_run_without_threads());
      },
      testing::ExitedWithCode(7), "");
}

TEST(CrowdDeathTest, NoThreadForTimers) {
  EXPECT_DEATH(_exit(outlive_a_run_without_threads()), "no thread to be had for timers where no run is under way");
}

// A busy machine only makes it fewer.
TEST(Crowd, NothingToDoIsDoneAsleep) {
  if (kSanitized) GTEST_SKIP() << "they have threads of their own";
  run_on(3, [] {
    std::atomic<int> done{0};
    go([&] { ++done; });
    await(done, 1);
    wr_sleep_ns(200000000);  // the watchman takes a while to believe it
    const uint64_t before = context_switches();
    wr_sleep_ns(300000000);
    EXPECT_LT(context_switches() - before, 60u);
  });
}

}  // namespace
