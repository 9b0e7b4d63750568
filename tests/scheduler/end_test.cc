// The ends of a process: panics, deadlocks, stack overflow, SIGQUIT. Each in a child, whose output and status are
// compared.
#include "allocator/base/options.h"
#include "fibers.h"
#include "scheduler/park.h"
#include "scheduler/state.h"

#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <regex>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

using namespace fibers;

struct End {
  int status;
  std::string text;
  bool exited_with(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
  bool has(const char *part) const { return text.find(part) != std::string::npos; }
};

// Runs f in a forked child. The scheduler has not been used in this process, so the child may.
End end_of(const std::function<void()> &f, const std::function<void(pid_t)> &meanwhile = nullptr) {
  int ends[2];
  EXPECT_EQ(0, pipe(ends));
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 2);
    signal(SIGQUIT, SIG_DFL);  // a shell's background commands ignore it
    close(ends[0]);
    close(ends[1]);
    alarm(60);
    f();
    _exit(0);
  }
  close(ends[1]);
  if (meanwhile) meanwhile(child);
  End end{};
  char part[4096];
  for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) end.text.append(part, static_cast<size_t>(n));
  close(ends[0]);
  EXPECT_EQ(child, waitpid(child, &end.status, 0));
  return end;
}

void forever() {
  for (;;) wr_sleep_ns(int64_t{3600} * 1000000000);
}

// Nobody knows of it, so nobody will make it ready.
__attribute__((noinline)) void park_for_good() {
  warren::scheduler::park(nullptr, nullptr, warren::scheduler::WaitReason::kSemaphore);
  asm volatile("");
}

TEST(End, Panic) {
  const End end = end_of([] {
    run([] {
      const wr_fiber_options named{0, "sleeper"};
      go(forever, &named);
      wr_sleep_ns(1000000);
      wr_fatal_panic("all is lost");
      return 0;
    });
  });
  EXPECT_TRUE(end.exited_with(2)) << end.status;
  EXPECT_EQ(end.text.rfind("panic: all is lost\n", 0), 0u) << end.text;
  EXPECT_TRUE(end.has("\nfiber 1 [running] main:\n    ")) << end.text;
  EXPECT_TRUE(end.has("] sleeper:\n    ")) << end.text;
}

TEST(End, PanicOnAPlainThread) {
  const End end = end_of([] { wr_fatal_panic("no run"); });
  EXPECT_TRUE(end.exited_with(2));
  EXPECT_EQ(end.text.rfind("panic: no run\n", 0), 0u) << end.text;
}

TEST(End, PanicsRace) {
  const End end = end_of([] {
    wr_max_procs(4);
    run([] {
      for (int i = 0; i < 20; ++i) go([] { wr_fatal_panic("one of many"); });
      forever();
      return 0;
    });
  });
  EXPECT_TRUE(end.exited_with(2));
  EXPECT_EQ(end.text.rfind("panic: one of many\n", 0), 0u);
  EXPECT_EQ(end.text.find("panic:", 1), std::string::npos) << end.text;
}

TEST(End, Deadlock) {
  for (const int procs : {1, 4}) {
    const End end = end_of([procs] {
      wr_max_procs(procs);
      run([] {
        const wr_fiber_options named{0, "other"};
        go(park_for_good, &named);
        park_for_good();
        return 0;
      });
    });
    EXPECT_TRUE(end.exited_with(2)) << end.status << end.text;
    EXPECT_EQ(end.text.rfind("fatal error: all fibers are asleep - deadlock!\n", 0), 0u) << end.text;
    EXPECT_TRUE(end.has("fiber 1 [semacquire")) << end.text;
    EXPECT_TRUE(end.has("] other:\n")) << end.text;
    EXPECT_TRUE(end.has("park_for_good")) << end.text;
  }
}

TEST(End, DeadlockOfALockedFiber) {
  const End end = end_of([] {
    run([] {
      wr_lock_os_thread();
      park_for_good();
      return 0;
    });
  });
  EXPECT_TRUE(end.exited_with(2)) << end.status;
  EXPECT_EQ(end.text.rfind("fatal error: all fibers are asleep - deadlock!\n", 0), 0u) << end.text;
  EXPECT_TRUE(end.has(", locked to thread] main:\n")) << end.text;
}

// It has lost its P by the time it ends, and the thread that runs main sleeps: nobody but the ending thread can look.
TEST(End, DeadlockOnceALockedFiberHasEnded) {
  const End end = end_of([] {
    wr_max_procs(1);
    run([] {
      go([] {
        wr_lock_os_thread();
        const uint64_t until = wr_now_ns() + 200000000;
        while (wr_now_ns() < until) {
        }
      });
      wr_yield();
      park_for_good();
      return 0;
    });
  });
  EXPECT_TRUE(end.exited_with(2)) << end.status;
  EXPECT_EQ(end.text.rfind("fatal error: all fibers are asleep - deadlock!\n", 0), 0u) << end.text;
}

TEST(End, DeadlockOnceTheLastForeignThreadIsGone) {
  const End end = end_of([] {
    std::thread other([] { usleep(30000); });
    other.detach();
    run([] {
      park_for_good();
      return 0;
    });
  });
  EXPECT_TRUE(end.exited_with(2)) << end.status;
  EXPECT_EQ(end.text.rfind("fatal error: all fibers are asleep - deadlock!\n", 0), 0u) << end.text;
}

// The one of a fiber that runs on a thread which sysmon has started.
TEST(End, NoDeadlockWhileAThreadThatAFiberHasStartedMayWakeOne) {
  const End end = end_of([] {
    wr_max_procs(1);
    run([] {
      go([] {
        std::thread([] {
          usleep(200000);
          _exit(7);
        }).detach();
      });
      go([] {  // comes first, and loses its P to another thread
        const uint64_t until = wr_now_ns() + 100000000;
        while (wr_now_ns() < until) {
        }
      });
      park_for_good();
      return 0;
    });
  });
  EXPECT_TRUE(end.exited_with(7)) << end.status << end.text;
}

// What fibers of an earlier run wait for wakes nobody.
TEST(End, DeadlockOfALaterRun) {
  const std::function<void(int)> waits[] = {
      [](int fd) { wr_wait_fd(fd, POLLIN, WR_NEVER); },
      [](int fd) { wr_wait_fd(fd, POLLIN, wr_now_ns() + uint64_t{3600} * 1000000000); },
      [](int fd) {
        wr_poll *poll;
        if (wr_poll_open(fd, &poll) == 0) wr_poll_wait(poll, WR_POLL_READ);
      },
      [](int) { forever(); },
  };
  for (const auto &wait : waits) {
    for (const int procs : {1, 4}) {
      const End end = end_of([&] {
        alarm(10);
        int ends[2];
        EXPECT_EQ(0, pipe(ends));
        wr_max_procs(procs);
        run([&] {
          go([&] { wait(ends[0]); });
          wr_sleep_ns(20000000);
          return 0;
        });
        run([] {
          park_for_good();
          return 0;
        });
      });
      EXPECT_TRUE(end.exited_with(2)) << end.status << " " << &wait - waits << " " << procs;
      EXPECT_EQ(end.text.rfind("fatal error: all fibers are asleep - deadlock!\n", 0), 0u) << end.text;
    }
  }
}

// Go's TestThreadExhaustion.
TEST(End, ThreadExhaustion) {
  const End end = end_of([] {
    wr_max_procs(2);
    run([] {
      {
        warren::MutexLock hold(warren::scheduler::sched.lock);
        warren::scheduler::sched.fewer_ms = warren::scheduler::kMostMs - 20;
      }
      for (int i = 0; i < 40; ++i) {
        go([] {
          wr_enter_blocking();
          usleep(10000000);
          wr_exit_blocking();
        });
      }
      forever();
      return 0;
    });
  });
  EXPECT_TRUE(end.exited_with(2)) << end.status;
  EXPECT_EQ(end.text.rfind("fatal error: thread exhaustion: 20 threads are in blocking calls", 0), 0u) << end.text;
  EXPECT_TRUE(end.has(" [syscall]:\n    ")) << end.text;
}

TEST(End, MainEndsAndThenAllOthers) {
  const End end = end_of([] {
    run([] {
      go([] { wr_sleep_ns(3000000); });
      wr_end_fiber();
      return 0;
    });
  });
  EXPECT_TRUE(end.exited_with(2)) << end.status;
  EXPECT_EQ(end.text.rfind("fatal error: no fibers (main called exit_fiber) - deadlock!\n", 0), 0u) << end.text;
}

TEST(End, NoDeadlockWhileATimerADescriptorOrAThreadMayWakeOne) {
  EXPECT_TRUE(end_of([] {
                run([] {
                  wr_sleep_ns(20000000);
                  return 0;
                });
              }).exited_with(0));
  const End descriptor = end_of([] {
    run([] {
      int ends[2];
      EXPECT_EQ(0, pipe(ends));
      const pid_t writer = fork();
      if (writer == 0) {
        usleep(20000);
        _exit(write(ends[1], "x", 1) == 1 ? 0 : 1);
      }
      EXPECT_EQ(wr_wait_fd(ends[0], POLLIN, WR_NEVER), POLLIN);
      waitpid(writer, nullptr, 0);
      return 0;
    });
  });
  EXPECT_TRUE(descriptor.exited_with(0)) << descriptor.text;
  const End thread = end_of([] {
    std::thread other([] {
      usleep(50000);
      _exit(7);
    });
    run([] {
      park_for_good();
      return 0;
    });
  });
  EXPECT_TRUE(thread.exited_with(7)) << thread.text;
  const End blocking = end_of([] {
    run([] {
      wr_enter_blocking();
      usleep(50000);
      wr_exit_blocking();
      return 0;
    });
  });
  EXPECT_TRUE(blocking.exited_with(0)) << blocking.text;
}

__attribute__((noinline)) int recurse(int depth) {
  volatile char area[256];
  area[0] = static_cast<char>(depth);
  if (depth < 0) return 0;  // overflows first
  return recurse(depth + 1) + area[0];
}

TEST(End, StackOverflow) {
  for (const size_t stack : {size_t{0}, size_t{64} << 10, size_t{4} << 20}) {
    const End end = end_of([stack] {
      run([stack] {
        const wr_fiber_options deep{stack, "deep"};
        go([] { recurse(0); }, &deep);
        forever();
        return 0;
      });
    });
    EXPECT_TRUE(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGABRT) << end.status;
    EXPECT_EQ(end.text.rfind("fatal error: stack overflow\n", 0), 0u) << end.text;
    EXPECT_TRUE(end.has("\nfiber 2 [running] deep:\n    ")) << end.text;
    EXPECT_TRUE(end.has("recurse")) << end.text;
  }
}

// An array that reaches beyond the guard, and beyond everything that is mapped.
__attribute__((noinline)) char touch(size_t bytes) {
  auto *array = static_cast<volatile char *>(__builtin_alloca(bytes));
  array[0] = 1;
  return array[0];
}

TEST(End, OverflowByOneLargeFrame) {
  if (kSanitized) GTEST_SKIP() << "it looks at the array first";
  const End end = end_of([] {
    run([] {
      touch(size_t{1} << 45);
      return 0;
    });
  });
  EXPECT_TRUE(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGABRT) << end.status;
  EXPECT_EQ(end.text.rfind("fatal error: stack overflow\n", 0), 0u) << end.text;
  EXPECT_TRUE(end.has("\nfiber 1 [running] main:\n    ")) << end.text;
}

TEST(End, OtherFaultsAreWhatTheyWere) {
  const End end = end_of([] {
    run([] {
      volatile int *nowhere = nullptr;
      *nowhere = 1;
      return 0;
    });
  });
  EXPECT_TRUE(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGSEGV) << end.status << end.text;
}

// It comes once: no instruction faults again.
TEST(End, ASegmentationFaultThatWasSentIsWhatItWas) {
  const auto sent = [] {
    run([] {
      raise(SIGSEGV);
      return 0;
    });
    _exit(7);
  };
  EXPECT_TRUE(WTERMSIG(end_of(sent).status) == SIGSEGV);
  EXPECT_TRUE(end_of([&] {
                signal(SIGSEGV, SIG_IGN);
                run([] {
                  raise(SIGSEGV);
                  return 0;
                });
                sent();
              }).exited_with(7));
  EXPECT_TRUE(end_of([&] {
                signal(SIGSEGV, [](int) { _exit(8); });
                sent();
              }).exited_with(8));
}

TEST(End, Sigquit) {
  for (const bool idle : {true, false}) {
    int ready[2];
    ASSERT_EQ(0, pipe(ready));
    const End end = end_of(
        [&] {
          run([&] {
            const wr_fiber_options named{0, "spinner"};
            if (!idle) {
              go(
                  [] {
                    for (;;) wr_preempt_point();
                  },
                  &named);
            }
            wr_sleep_ns(1000000);
            EXPECT_EQ(1, write(ready[1], "x", 1));
            forever();
            return 0;
          });
        },
        [&](pid_t child) {
          char c;
          EXPECT_EQ(1, read(ready[0], &c, 1));
          kill(child, SIGQUIT);
        });
    close(ready[0]);
    close(ready[1]);
    EXPECT_TRUE(end.exited_with(2)) << end.status;
    EXPECT_EQ(end.text.rfind("SIGQUIT: quit\n", 0), 0u) << end.text;
    EXPECT_TRUE(end.has("\nfiber 1 [")) << end.text;  // asleep, or still in write()
    EXPECT_TRUE(idle || end.has("] spinner:\n    ")) << end.text;
  }
}

// With the option the process goes on, and answers again.
TEST(End, SigquitThatOnlyShowsTheFibers) {
  int shown[2];
  ASSERT_EQ(0, pipe(shown));
  const End end = end_of([&] {
    warren::options.sigquit.store(1);
    run([&] {
      const int out = dup(2);
      dup2(shown[1], 2);
      std::string text;
      for (int i = 0; i < 2; ++i) {
        kill(getpid(), SIGQUIT);
        char part[4096];
        do {
          wr_wait_fd(shown[0], POLLIN, WR_NEVER);
          const ssize_t n = read(shown[0], part, sizeof part);
          if (n > 0) text.append(part, static_cast<size_t>(n));
        } while (text.find("main:\n    ") == std::string::npos);
        EXPECT_EQ(static_cast<ssize_t>(text.size()), write(out, text.data(), text.size()));
        text.clear();
        wr_sleep_ns(5000000);
      }
      return 0;
    });
    _exit(7);
  });
  close(shown[0]);
  close(shown[1]);
  EXPECT_TRUE(end.exited_with(7)) << end.status;
  EXPECT_EQ(end.text.rfind("SIGQUIT\n\nfiber 1 [", 0), 0u) << end.text;
}

TEST(End, TracesOfTheScheduler) {
  for (const bool detail : {false, true}) {
    const End end = end_of([detail] {
      warren::options.schedtrace.store(2);
      warren::options.scheddetail.store(detail);
      wr_max_procs(2);
      run([] {
        for (int i = 0; i < 20; ++i) wr_sleep_ns(2000000);
        return 0;
      });
    });
    EXPECT_TRUE(end.exited_with(0));
    const std::regex line(detail ? "SCHED \\d+ms: gomaxprocs=2 idleprocs=\\d threads=\\d+ spinningthreads=\\d+ "
                                   "idlethreads=\\d+ runqueue=\\d+ stopping=0\n  P0: status="
                                 : "SCHED \\d+ms: gomaxprocs=2 idleprocs=\\d threads=\\d+ spinningthreads=\\d+ "
                                   "idlethreads=\\d+ runqueue=\\d+ \\[\\d+ \\d+\\]\n");
    EXPECT_TRUE(std::regex_search(end.text, line)) << end.text;
    EXPECT_EQ(detail, end.has("\n  M0: p=") || end.has("\n  M1: p=")) << end.text;
    EXPECT_EQ(detail, end.has("\n  G1: status=")) << end.text;
  }
}

TEST(End, ExitWithLiveFibers) {
  const End end = end_of([] {
    wr_max_procs(4);
    run([] {
      for (int i = 0; i < 4; ++i) {
        go([] {
          for (;;) wr_yield();
        });
      }
      go([] {
        for (;;) {
        }
      });
      wr_sleep_ns(1000000);
      exit(9);
      return 0;
    });
  });
  EXPECT_TRUE(end.exited_with(9)) << end.status << end.text;
}

TEST(End, RunReturnsThoughOthersCompute) {
  const End end = end_of([] {
    wr_max_procs(3);
    const int result = run([] {
      for (int i = 0; i < 4; ++i) {
        go([] {
          for (;;) {
          }
        });
      }
      wr_sleep_ns(1000000);
      return 11;
    });
    exit(result);
  });
  EXPECT_TRUE(end.exited_with(11)) << end.status << end.text;
}

}  // namespace
