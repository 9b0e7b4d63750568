// Threads that block or await all signals can be stopped: preload/signal_masks.cc. Each test has a process of its own.
// Invariant: a thread that could not be stopped would keep its test from ending, until the watchdog does.
#include "gc/stop_signal.h"
#include "gc/world.h"
#include "tests/allocator/own_process.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <pthread.h>
#include <sys/signalfd.h>
#include <thread>
#include <unistd.h>

namespace warren::gc {
namespace {

sigset_t all_signals() {
  sigset_t set;
  sigfillset(&set);
  return set;
}

// A thread that calls prepare() and then waits() until it has had SIGUSR1.
template <class Wait>
void stop_while_waiting(Wait wait) {
  ASSERT_TRUE(world::set_up());
  const sigset_t all = all_signals();
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  std::atomic<bool> ready{false};
  std::thread thread([&] {
    ready = true;
    wait(all);
  });
  while (!ready) sched_yield();
  for (int round = 0; round < 300; ++round) {
    ASSERT_TRUE(world::stop());
    world::start();
  }
  pthread_kill(thread.native_handle(), SIGUSR1);
  thread.join();
}

TEST(SignalMasks, AsInLibcWhileTheCollectorSleeps) {
  in_own_process([] {
    const sigset_t all = all_signals();
    sigset_t before, now;
    EXPECT_EQ(pthread_sigmask(SIG_SETMASK, nullptr, &before), 0);
    EXPECT_EQ(pthread_sigmask(SIG_BLOCK, &all, &now), 0);
    for (int signal = 1; signal < 32; ++signal) EXPECT_EQ(sigismember(&before, signal), sigismember(&now, signal));
    EXPECT_EQ(sigprocmask(SIG_BLOCK, nullptr, &now), 0);
    for (int signal = 1; signal <= SIGRTMAX; ++signal) {
      const bool never = signal == SIGKILL || signal == SIGSTOP || signal == 32 || signal == 33;
      EXPECT_EQ(sigismember(&now, signal), !never) << signal;
    }
    EXPECT_EQ(pthread_sigmask(4711, &all, nullptr), EINVAL);
    errno = 0;
    EXPECT_EQ(sigprocmask(4711, &all, nullptr), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(sigprocmask(SIG_SETMASK, &before, nullptr), 0);
    EXPECT_EQ(sigprocmask(SIG_SETMASK, nullptr, &now), 0);
    for (int signal = 1; signal <= SIGRTMAX; ++signal) {
      EXPECT_EQ(sigismember(&now, signal), sigismember(&before, signal)) << signal;
    }
  });
}

// A mask from before the collector's first use. setuid, whose signal opens it, goes on as it did.
TEST(SignalMasks, AThreadThatBlockedAllBefore) {
  in_own_process([] {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const sigset_t all = all_signals();
    std::atomic<bool> ready{false};
    std::thread deaf([&] {
      pthread_sigmask(SIG_SETMASK, &all, nullptr);
      ready = true;
      char byte;
      EXPECT_EQ(read(ends[0], &byte, 1), 1);
      sigset_t now;
      pthread_sigmask(SIG_BLOCK, nullptr, &now);
      EXPECT_TRUE(sigismember(&now, SIGUSR1));
    });
    while (!ready) sched_yield();
    for (int round = 0; round < 3; ++round) {
      ASSERT_TRUE(world::stop());
      world::start();
      EXPECT_EQ(setuid(getuid()), 0);
    }
    EXPECT_EQ(write(ends[1], "x", 1), 1);
    deaf.join();
    EXPECT_EQ(setuid(getuid()), 0);
  });
}

// Handlers with a full mask are stopped in, too.
TEST(SignalMasks, AHandlerThatBlocksAll) {
  in_own_process([] {
    static int ends[2];
    static std::atomic<bool> inside;
    ASSERT_EQ(pipe(ends), 0);
    struct sigaction action {};
    action.sa_handler = [](int) {
      inside = true;
      char byte;
      EXPECT_EQ(read(ends[0], &byte, 1), 1);
    };
    action.sa_mask = all_signals();
    ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
    std::thread thread([] { pthread_kill(pthread_self(), SIGUSR1); });
    while (!inside) sched_yield();
    for (int round = 0; round < 3; ++round) {
      ASSERT_TRUE(world::stop());
      world::start();
    }
    EXPECT_EQ(write(ends[1], "x", 1), 1);
    thread.join();
  });
}

TEST(SignalMasks, OursStaysOpen) {
  in_own_process([] {
    ASSERT_TRUE(world::set_up());
    const sigset_t all = all_signals();
    sigset_t now;
    for (const int how : {SIG_BLOCK, SIG_SETMASK}) {
      EXPECT_EQ(sigprocmask(how, &all, nullptr), 0);
      EXPECT_EQ(sigprocmask(how, nullptr, &now), 0);
      for (int signal = 34; signal <= SIGRTMAX; ++signal) {
        EXPECT_EQ(sigismember(&now, signal), signal != stop_signal::number()) << signal;
      }
    }
  });
}

TEST(SignalMasks, AThreadThatBlocksAll) {
  in_own_process([] {
    stop_while_waiting([](const sigset_t &) {
      sigset_t pending;
      do {
        sched_yield();
        sigpending(&pending);
      } while (sigismember(&pending, SIGUSR1) == 0);
    });
  });
}

TEST(SignalMasks, AThreadInSigwait) {
  in_own_process([] {
    stop_while_waiting([](const sigset_t &all) {
      int signal = 0;
      EXPECT_EQ(sigwait(&all, &signal), 0);
      EXPECT_EQ(signal, SIGUSR1);
    });
  });
}

TEST(SignalMasks, AThreadInSigwaitinfo) {
  in_own_process([] {
    stop_while_waiting([](const sigset_t &all) {
      siginfo_t information;
      int signal;
      while ((signal = sigwaitinfo(&all, &information)) == -1) EXPECT_EQ(errno, EINTR);
      EXPECT_EQ(signal, SIGUSR1);
      const timespec long_time{1000, 0};
      raise(SIGUSR2);
      while ((signal = sigtimedwait(&all, &information, &long_time)) == -1) EXPECT_EQ(errno, EINTR);
      EXPECT_EQ(signal, SIGUSR2);
    });
  });
}

TEST(SignalMasks, AThreadThatReadsASignalfd) {
  in_own_process([] {
    stop_while_waiting([](const sigset_t &all) {
      const int fd = signalfd(-1, &all, SFD_CLOEXEC);
      ASSERT_GE(fd, 0);
      signalfd_siginfo information{};
      ASSERT_EQ(read(fd, &information, sizeof information), static_cast<ssize_t>(sizeof information));
      EXPECT_EQ(information.ssi_signo, static_cast<uint32_t>(SIGUSR1));
    });
  });
}

}  // namespace
}  // namespace warren::gc
