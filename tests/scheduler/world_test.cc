// Stopping the world: resizing and dumping while everything else goes on.
#include "allocator/base/cpu_count.h"
#include "allocator/base/options.h"
#include "fibers.h"
#include "scheduler/run.h"

#include <fcntl.h>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace {

using namespace fibers;

TEST(World, MaxProcsReturnsWhatItWas) {
  const int before = wr_max_procs(0);
  EXPECT_GE(before, 1);
  EXPECT_EQ(wr_max_procs(3), before);
  EXPECT_EQ(wr_max_procs(0), 3);
  run_on(3, [] {
    EXPECT_EQ(wr_max_procs(0), 3);
    EXPECT_EQ(wr_max_procs(5), 3);
    EXPECT_EQ(wr_max_procs(-1), 5);
    EXPECT_EQ(wr_max_procs(3), 5);
  });
  wr_max_procs(before);
}

TEST(World, FollowsTheOption) {
  run_on(2, [] {
    warren::options.maxprocs.store(7);
    warren::scheduler::follow_maxprocs();
    EXPECT_EQ(wr_max_procs(2), 7);
    warren::options.maxprocs.store(0);  // no wish
    warren::scheduler::follow_maxprocs();
    EXPECT_EQ(wr_max_procs(2), warren::usable_cpus());
  });
}

TEST(World, ResizesDuringAStormOfFibers) {
  const unsigned seed = std::random_device{}();
  std::printf("seed %u\n", seed);  // SCOPED_TRACE lives in the thread, fibers do not
  run_on(2, [seed] {
    std::atomic<bool> end{false};
    std::atomic<int> done{0};
    std::atomic<int> started{0};
    for (unsigned f = 0; f < 8; ++f) {
      go([&, f] {
        std::mt19937 random(seed + f);
        while (!end) {
          ++started;
          go([&] { ++done; });
          if (random() % 4 == 0) wr_sleep_ns(static_cast<int64_t>(random() % 100000));
          wr_yield();
        }
        ++done;
      });
      ++started;
    }
    std::mt19937 random(seed);
    for (int i = 0; i < 300; ++i) {
      wr_max_procs(static_cast<int>(random() % 8) + 1);
      if (random() % 2 == 0) wr_yield();
    }
    end = true;
    while (done != started) wr_yield();
    while (wr_fiber_count() != 1) wr_yield();
    wr_max_procs(2);
  });
}

TEST(World, ManyStopAtOnce) {
  run_on(4, [] {
    std::atomic<int> done{0};
    for (int f = 0; f < 8; ++f) {
      go([&, f] {
        for (int i = 0; i < 50; ++i) wr_max_procs(1 + (f + i) % 6);
        ++done;
      });
    }
    std::atomic<bool> joined{false};
    std::thread other([&] {
      for (int i = 0; i < 50; ++i) wr_max_procs(1 + i % 4);
      joined = true;
    });
    await(done, 8);
    while (!joined) wr_yield();
    other.join();
    wr_max_procs(4);
  });
}

TEST(World, StopsWhileOthersComputeAndBlock) {
  run_on(3, [] {
    std::atomic<bool> end{false};
    std::atomic<int> done{0};
    go([&] {
      while (!end.load(std::memory_order_relaxed)) {
      }
      ++done;
    });
    go([&] {
      wr_enter_blocking();
      while (!end) usleep(1000);
      wr_exit_blocking();
      ++done;
    });
    for (int i = 0; i < 50; ++i) {
      wr_max_procs(2 + i % 3);
      wr_yield();
    }
    end = true;
    await(done, 2);
  });
}

std::string dump() {
  const int fd = memfd_create("fibers", 0);
  wr_dump_fibers(fd);
  std::string text;
  lseek(fd, 0, SEEK_SET);
  char part[4096];
  for (ssize_t n; (n = read(fd, part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(n));
  close(fd);
  return text;
}

void __attribute__((noinline)) sleeps_in_here(std::atomic<bool> &end, std::atomic<bool> &sleeps) {
  sleeps = true;
  while (!end) wr_sleep_ns(50000000);
  asm volatile("");
}

TEST(World, DumpShowsEveryFiberWithItsFrames) {
  for (const int procs : {1, 4}) {
    run_on(procs, [] {
      std::atomic<bool> end{false};
      std::atomic<int> done{0};
      std::atomic<bool> computes{false};
      std::atomic<bool> sleeps{false};
      const wr_fiber_options sleeper{0, "sleeper"};
      const wr_fiber_options hog{0, "hog"};
      go(
          [&] {
            sleeps_in_here(end, sleeps);
            ++done;
          },
          &sleeper);
      go(
          [&] {
            computes = true;
            while (!end.load(std::memory_order_relaxed)) {
            }
            ++done;
          },
          &hog);
      while (!computes || !sleeps) wr_yield();
      wr_sleep_ns(1000000);
      const std::string text = dump();
      EXPECT_NE(text.find("fiber 1 [running] main:\n    "), std::string::npos) << text;
      EXPECT_NE(text.find("sleep, "), std::string::npos) << text;
      EXPECT_NE(text.find(" ms] sleeper:\n    "), std::string::npos) << text;
      EXPECT_NE(text.find("sleeps_in_here"), std::string::npos) << text;
      EXPECT_NE(text.find("[running] hog:\n    "), std::string::npos) << text;
      end = true;
      await(done, 2);
    });
  }
}

TEST(World, DumpsWhileEverythingMoves) {
  run_on(4, [] {
    std::atomic<bool> end{false};
    std::atomic<int> done{0};
    for (int f = 0; f < 20; ++f) {
      go([&, f] {
        while (!end) f % 2 == 0 ? wr_yield() : wr_sleep_ns(20000);
        ++done;
      });
    }
    const int null = open("/dev/null", O_WRONLY);
    for (int i = 0; i < 20; ++i) {
      wr_dump_fibers(null);
      wr_yield();
    }
    close(null);
    end = true;
    await(done, 20);
  });
}

size_t machines() {
  size_t count = 0;
  for (const warren::scheduler::M *m = warren::scheduler::sched.all_ms.load(); m != nullptr; m = m->next_all) ++count;
  return count;
}

TEST(World, TheMOfAThreadThatEndedServesTheNext) {
  run_on(2, [] {
    const auto end_threads = [](int count) {
      for (int i = 0; i < count; ++i) {
        std::atomic<int> done{0};
        go([&] {
          wr_lock_os_thread();
          ++done;
        });
        await(done, 1);
        wr_sleep_ns(10000);
      }
    };
    end_threads(20);
    const size_t before = machines();
    end_threads(100);
    EXPECT_LT(machines(), before + 50);  // some may be ending while the next is started
  });
}

TEST(World, StopsAThreadInThePlaceOfOneThatEnded) {
  run_on(3, [] {
    std::mutex lock;
    std::set<const warren::scheduler::M *> ended;
    std::atomic<bool> computes{false};
    std::atomic<bool> end{false};
    std::atomic<int> started{0};
    std::atomic<int> done{0};
    // Each round takes one thread away, so that at last one has to be made.
    while (!computes) {
      started += 2;
      go([&] {
        wr_lock_os_thread();
        const std::lock_guard<std::mutex> hold(lock);
        ended.insert(warren::scheduler::this_m());
        ++done;
      });
      go([&] {
        bool again;
        {
          const std::lock_guard<std::mutex> hold(lock);
          again = ended.count(warren::scheduler::this_m()) != 0;
        }
        if (again && !computes.exchange(true)) {
          while (!end.load(std::memory_order_relaxed)) {
          }
        }
        ++done;
      });
      wr_sleep_ns(10000);
    }
    EXPECT_EQ(wr_max_procs(2), 3);
    end = true;
    await(done, started);
  });
}

}  // namespace
