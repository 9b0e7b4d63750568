// Ps that leave threads in foreign code: blocking calls, computing without end, locked threads.
// maxprocs is 1 or small throughout: what is tested is that the others go on.
#include "fibers.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace {

using namespace fibers;

long thread_id() { return syscall(SYS_gettid); }

TEST(Blocking, OthersRunMeanwhile) {
  for (const int procs : {1, 2}) {
    run_on(procs, [procs] {
      int ends[2];
      ASSERT_EQ(0, pipe(ends));
      std::atomic<int> done{0};
      for (int i = 0; i < procs + 2; ++i) {
        go([&] {
          char c;
          wr_enter_blocking();
          EXPECT_EQ(1, read(ends[0], &c, 1));
          wr_exit_blocking();
          ++done;
        });
      }
      go([&, procs] {
        // Only runs once somebody's P has been taken.
        for (int i = 0; i < procs + 2; ++i) {
          wr_sleep_ns(1000000);
          EXPECT_EQ(1, write(ends[1], "x", 1));
        }
      });
      await(done, procs + 2);
      close(ends[0]);
      close(ends[1]);
    });
  }
}

TEST(Blocking, UnannouncedCallsAreFoundToo) {
  run_on(1, [] {
    int ends[2];
    ASSERT_EQ(0, pipe(ends));
    std::atomic<int> done{0};
    go([&] {
      char c;
      EXPECT_EQ(1, read(ends[0], &c, 1));
      ++done;
    });
    go([&] {
      EXPECT_EQ(1, write(ends[1], "x", 1));
      ++done;
    });
    await(done, 2);
    close(ends[0]);
    close(ends[1]);
  });
}

TEST(Blocking, NestsAndCostsNothingWhereNobodyElseWants) {
  run_on(1, [] {
    const long before = thread_id();
    uint64_t last = wr_now_ns(), longest = 0;
    for (int i = 0; i < 100000; ++i) {
      wr_enter_blocking();
      wr_enter_blocking();
      wr_exit_blocking();
      wr_exit_blocking();
      const uint64_t time = wr_now_ns();
      longest = std::max(longest, time - last);
      last = time;
    }
    // Who was off its processor in the middle of a call, for as long as lies between two looks of sysmon's, is taken for one whose
    // call takes that long.
    if (longest < 20'000) EXPECT_EQ(thread_id(), before);
  });
}

// Its P goes to the other fiber meanwhile, so that the end of the outermost call has to wait for one, and may find it elsewhere.
TEST(Blocking, OnlyTheOutermostEndComesBack) {
  run_on(1, [] {
    std::atomic<int> done{0};
    std::atomic<bool> end{false};
    std::atomic<long> turns{0};
    go([&] {
      for (; !end; ++turns) wr_yield();
      ++done;
    });
    for (int i = 0; i < 20; ++i) {
      const long thread = thread_id();
      wr_enter_blocking();
      wr_enter_blocking();
      for (const long before = turns; turns < before + 2;) usleep(100);
      wr_exit_blocking();
      EXPECT_EQ(thread_id(), thread);
      wr_exit_blocking();
    }
    end = true;
    await(done, 1);
  });
}

// A callback that waits, in a library's blocking call: it may go on on another thread, and leave the call there.
TEST(Blocking, WhoBlocksMayWaitMeanwhile) {
  for (const int procs : {1, 3}) {
    run_on(procs, [] {
      constexpr int kFibers = 8;
      std::atomic<int> done{0};
      for (int f = 0; f < kFibers; ++f) {
        go([&, f] {
          for (int i = 0; i < 200; ++i) {
            wr_enter_blocking();
            wr_enter_blocking();
            if (f % 2 == 0) usleep(50);
            wr_yield();
            wr_exit_blocking();
            if (i % 20 == 0) wr_sleep_ns(100000);
            go([] {});
            wr_yield();
            wr_exit_blocking();
            wr_yield();
          }
          ++done;
        });
      }
      await(done, kFibers);
    });
  }
}

TEST(Blocking, ErrnoOfTheCallSurvives) {
  run_on(1, [] {
    std::atomic<int> done{0};
    std::atomic<bool> end{false};
    go([&] {
      while (!end) wr_yield();
      ++done;
    });
    for (int i = 0; i < 5; ++i) {
      wr_enter_blocking();
      usleep(2000);  // the P is gone by now
      errno = EXDEV;
      wr_exit_blocking();
      EXPECT_EQ(errno, EXDEV);
    }
    end = true;
    await(done, 1);
  });
}

TEST(Hog, DoesNotKeepTheOthersFromRunning) {
  for (const int procs : {1, 2}) {
    run_on(procs, [procs] {
      std::atomic<bool> end{false};
      std::atomic<int> done{0};
      for (int i = 0; i < procs * 2; ++i) {
        go([&] {
          while (!end.load(std::memory_order_relaxed)) {
          }
          ++done;
        });
      }
      // Ten naps: each needs a P that the hogs do not give up by themselves.
      for (int i = 0; i < 10; ++i) wr_sleep_ns(1000000);
      end = true;
      await(done, procs * 2);
    });
  }
}

// Go's TestPreemption: two that spin on a flag and hand it to each other, on one P.
TEST(Hog, TwoSpinnersHandAFlagOver) {
  run_on(1, [] {
    std::atomic<int> turn{0};
    std::atomic<int> done{0};
    for (int me = 0; me < 2; ++me) {
      go([&, me] {
        for (int i = 0; i < 5; ++i) {
          while (turn.load(std::memory_order_relaxed) % 2 != me) {
          }
          ++turn;
        }
        ++done;
      });
    }
    await(done, 2);
    EXPECT_EQ(turn, 10);
  });
}

TEST(Hog, ThatCallsTheRuntimeWithoutEverParking) {
  run_on(1, [] {
    std::atomic<bool> end{false};
    std::atomic<int> done{0};
    go([&] {
      while (!end) wr_preempt_point();
      ++done;
    });
    go([&] {
      while (!end) {
        wr_enter_blocking();
        wr_exit_blocking();
      }
      ++done;
    });
    for (int i = 0; i < 5; ++i) wr_sleep_ns(1000000);
    end = true;
    await(done, 2);
  });
}

TEST(Locked, FiberKeepsItsThread) {
  for (const int procs : {1, 3}) {
    run_on(procs, [] {
      std::atomic<int> done{0};
      std::atomic<int> wrong{0};
      for (int f = 0; f < 4; ++f) {
        go([&] {
          wr_lock_os_thread();
          wr_lock_os_thread();
          const long mine = thread_id();
          for (int i = 0; i < 20; ++i) {
            wr_yield();
            if (thread_id() != mine) ++wrong;
            if (i % 5 == 0) wr_sleep_ns(100000);
            if (thread_id() != mine) ++wrong;
          }
          wr_unlock_os_thread();
          wr_yield();
          if (thread_id() != mine) ++wrong;
          wr_unlock_os_thread();
          ++done;
        });
      }
      for (int f = 0; f < 8; ++f) {
        go([&] {
          for (int i = 0; i < 50; ++i) wr_yield();
          ++done;
        });
      }
      await(done, 12);
      EXPECT_EQ(wrong, 0);
    });
  }
}

TEST(Locked, ThreadRunsNobodyElse) {
  run_on(2, [] {
    std::atomic<long> locked{0};
    std::atomic<int> done{0};
    std::atomic<int> wrong{0};
    std::atomic<bool> end{false};
    go([&] {
      wr_lock_os_thread();
      locked = thread_id();
      while (!end) wr_sleep_ns(100000);
      wr_unlock_os_thread();
      ++done;
    });
    while (locked == 0) wr_yield();
    for (int f = 0; f < 8; ++f) {
      go([&] {
        for (int i = 0; i < 500; ++i) {
          if (thread_id() == locked) ++wrong;
          wr_yield();
        }
        ++done;
      });
    }
    while (done < 8) wr_yield();
    end = true;
    await(done, 9);
    EXPECT_EQ(wrong, 0);
  });
}

TEST(Locked, AThreadEndsWithItsLockedFiber) {
  run_on(2, [] {
    for (int i = 0; i < 20; ++i) {
      std::atomic<long> thread{0};
      go([&] {
        wr_lock_os_thread();
        thread = thread_id();
      });
      while (thread == 0) wr_yield();
      // The kernel's word for "no such thread".
      while (syscall(SYS_tgkill, getpid(), thread.load(), 0) == 0) wr_sleep_ns(100000);
    }
  });
}

TEST(Locked, AThreadThatIsToEndRunsNobodyElse) {
  run_on(1, [] {
    std::atomic<int> done{0}, wrong{0};
    constexpr int kOthers = 10, kRounds = 20;
    for (int round = 0; round < kRounds; ++round) {
      // Static: a fiber reads them when main may be in the next round.
      static std::atomic<long> thread{0};
      thread = 0;
      for (int i = 0; i < kOthers; ++i) {
        if (i == kOthers / 2) {
          go([&] {
            wr_lock_os_thread();
            thread = thread_id();
          });
        }
        go([&] {
          if (thread_id() == thread) ++wrong;
          ++done;
        });
      }
      await(done, (round + 1) * kOthers);
      while (thread == 0) wr_yield();
    }
    EXPECT_EQ(wrong, 0);
  });
}

TEST(Locked, WhileItsPIsTaken) {
  run_on(1, [] {
    std::atomic<int> done{0};
    go([&] {
      wr_lock_os_thread();
      const long mine = thread_id();
      for (int i = 0; i < 3; ++i) {
        const uint64_t until = wr_now_ns() + 15000000;
        while (wr_now_ns() < until) {
        }
        wr_yield();
        EXPECT_EQ(thread_id(), mine);
      }
      wr_unlock_os_thread();
      ++done;
    });
    go([&] {
      while (done == 0) wr_yield();
      ++done;
    });
    await(done, 2);
  });
}

}  // namespace
