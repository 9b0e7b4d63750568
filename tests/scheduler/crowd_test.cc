// Numbers at which schedulers break: waiters woken at once, stacks that are not to be had, calls that never wait, and
// nothing to do at all.
#include "fibers.h"

#include <warren/scheduler.h>

#include <cerrno>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fstream>
#include <pthread.h>
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

uint64_t context_switches() {
  uint64_t sum = 0;
  DIR *tasks = opendir("/proc/self/task");
  while (const dirent *task = readdir(tasks)) {
    std::ifstream file(std::string("/proc/self/task/") + task->d_name + "/status");
    std::string word;
    while (file >> word) {
      uint64_t number = 0;
      if (word == "voluntary_ctxt_switches:" && file >> number) sum += number;
    }
  }
  closedir(tasks);
  return sum;
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
