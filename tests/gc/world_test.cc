// Stopping and starting the world: gc/world.h. Each test has a process of its own.
// Invariant: nothing here depends on how long a thing takes; threads are brought to where a test wants them by waiting
// for it.
#include "gc/world.h"

#include "allocator/base/os_calls.h"
#include "tests/allocator/own_process.h"
#include "tests/allocator/tasks.h"
#include "tests/gc/counters.h"
#include "tests/gc/hidden.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <random>
#include <semaphore.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <thread>
#include <vector>

namespace warren::gc {
namespace {

TEST(World, NothingBeforeItsFirstUse) {
  in_own_process([] {
    for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) {
      struct sigaction action;
      sigaction(signal, nullptr, &action);
      EXPECT_EQ(action.sa_handler, SIG_DFL) << signal;
    }
    EXPECT_EQ(tasks(), 1);
  });
}

TEST(World, AloneAndTwice) {
  in_own_process([] {
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(world::stop());
      EXPECT_TRUE(world::stopped());
      world::start();
      EXPECT_FALSE(world::stopped());
    }
    EXPECT_EQ(tasks(), 1) << "no thread of ours";
    EXPECT_EQ(world::thread_count(), 1u);
  });
}

TEST(World, ThreadsStandStillAndGoOn) {
  in_own_process([] {
    Counters counters(8);
    for (int round = 0; round < 50; ++round) {
      ASSERT_TRUE(world::stop());
      if (round % 10 == 0) expect_still(counters);
      const uint64_t before = counters.sum();
      world::start();
      while (counters.sum() == before) sched_yield();
    }
    EXPECT_EQ(world::thread_count(), 9u);
  });
}

TEST(World, SixtyFourThreadsAThousandTimes) {
  in_own_process([] {
    Counters counters(64);
    for (int round = 0; round < 1000; ++round) {
      ASSERT_TRUE(world::stop());
      if (round % 100 == 0) expect_still(counters);
      world::start();
    }
  });
}

// Threads are made, end, are joined and detached all the while.
TEST(World, StormsOfThreads) {
  in_own_process([] {
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> work{0};
    const auto count_a_while = [&work] {
      for (int i = 0; i < 2000; ++i) work.fetch_add(1, std::memory_order_relaxed);
    };
    std::vector<std::thread> makers;
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      makers.emplace_back([&, seed] {
        std::mt19937_64 random(seed);
        while (!stop) {
          std::vector<std::thread> brood;
          for (uint64_t i = random() % 6; i != 0; --i) brood.emplace_back(count_a_while);
          for (std::thread &one : brood) one.join();
        }
      });
    }
    for (int round = 0; round < 1000; ++round) {
      ASSERT_TRUE(world::stop());
      // A thread that was made while the others were asked would still count.
      const uint64_t before = work;
      for (int i = 0; i < 20; ++i) sched_yield();
      ASSERT_EQ(work, before);
      world::start();
    }
    stop = true;
    for (std::thread &maker : makers) maker.join();
  });
}

TEST(World, ManyWhoWantToStopIt) {
  in_own_process([] {
    std::vector<std::thread> stoppers;
    std::atomic<int> inside{0}, done{0};
    for (int i = 0; i < 4; ++i) {
      stoppers.emplace_back([&] {
        for (int round = 0; round < 200; ++round) {
          ASSERT_TRUE(world::stop());
          EXPECT_EQ(inside.fetch_add(1), 0);
          inside--;
          world::start();
        }
        done++;
      });
    }
    for (std::thread &one : stoppers) one.join();
    EXPECT_EQ(done, 4);
  });
}

TEST(World, ErrnoIsKept) {
  in_own_process([] {
    std::atomic<int> ready{0};
    std::atomic<bool> stop{false};
    std::thread thread([&] {
      errno = 4711;
      ready = 1;
      while (!stop) {
        if (errno != 4711) ready = 2;
      }
    });
    await(ready, 1);
    for (int round = 0; round < 200; ++round) {
      ASSERT_TRUE(world::stop());
      world::start();
    }
    stop = true;
    thread.join();
    EXPECT_EQ(ready, 1);
  });
}

TEST(World, AThreadInsideNoStopIsWaitedFor) {
  in_own_process([] {
    ASSERT_TRUE(world::set_up());
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> broken{0}, rounds{0};
    uint64_t one = 0, two = 0;  // equal but inside
    std::thread thread([&] {
      while (!stop) {
        world::enter_no_stop();
        world::enter_no_stop();
        __atomic_fetch_add(&one, 1, __ATOMIC_RELAXED);
        world::leave_no_stop();
        for (int i = 0; i < 100; ++i) asm volatile("");
        __atomic_fetch_add(&two, 1, __ATOMIC_RELAXED);
        world::leave_no_stop();
        rounds++;
      }
    });
    while (rounds == 0) sched_yield();
    for (int round = 0; round < 1000; ++round) {
      ASSERT_TRUE(world::stop());
      if (__atomic_load_n(&one, __ATOMIC_RELAXED) != __atomic_load_n(&two, __ATOMIC_RELAXED)) broken++;
      world::start();
    }
    stop = true;
    thread.join();
    EXPECT_EQ(broken, 0u);
  });
}

// --- blocked threads ---

// A thread inside block() is stopped many times, sleeps on, and ends when finish() lets it.
template <class Block, class Finish>
void stop_while_in(Block block, Finish finish) {
  std::atomic<int> id{0}, done{0};
  std::thread thread([&] {
    id = static_cast<int>(os_calls::thread_id());
    block();
    done = 1;
  });
  await(id, 1);
  while (state_of(id) != 'S') sched_yield();
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(world::stop());
    world::start();
  }
  EXPECT_EQ(done, 0);
  finish();
  thread.join();
}

TEST(World, ThreadsInSystemCallsSleepOn) {
  in_own_process([] {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const auto write_one = [&] { ASSERT_EQ(write(ends[1], "x", 1), 1); };
    stop_while_in(
        [&] {
          char byte;
          EXPECT_EQ(read(ends[0], &byte, 1), 1);
        },
        write_one);
    std::atomic<uint32_t> word{0};
    stop_while_in(
        [&] {
          while (word == 0) os_calls::futex_wait(reinterpret_cast<uint32_t *>(&word), 0);
        },
        [&] {
          word = 1;
          os_calls::futex_wake(reinterpret_cast<uint32_t *>(&word), 1);
        });
    sem_t semaphore;
    sem_init(&semaphore, 0, 0);
    stop_while_in([&] { EXPECT_EQ(sem_wait(&semaphore), 0); }, [&] { sem_post(&semaphore); });
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    stop_while_in([&] { EXPECT_EQ(pthread_mutex_lock(&mutex), 0); }, [&] { pthread_mutex_unlock(&mutex); });
  });
}

TEST(World, AThreadInSigwaitForOthers) {
  in_own_process([] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    stop_while_in(
        [&] {
          int signal = 0;
          EXPECT_EQ(sigwait(&set, &signal), 0);
          EXPECT_EQ(signal, SIGUSR1);
        },
        [] { kill(getpid(), SIGUSR1); });
  });
}

TEST(World, SleepsLastAsLong) {
  in_own_process([] {
    std::atomic<int> id{0}, done{0};
    std::thread thread([&] {
      id = static_cast<int>(os_calls::thread_id());
      const uint64_t began = os_calls::now();
      timespec time{0, 50'000'000};
      while (nanosleep(&time, &time) == -1 && errno == EINTR) {
      }
      EXPECT_GE(os_calls::now() - began, 50'000'000u);
      done = 1;
    });
    await(id, 1);
    while (done == 0) {
      ASSERT_TRUE(world::stop());
      world::start();
      os_calls::sleep(1'000'000);
    }
    thread.join();
  });
}

// --- signals ---

TEST(World, TheProgramTakesOurSignal) {
  in_own_process([] {
    Counters counters(3);
    ASSERT_TRUE(world::stop());
    world::start();
    static std::atomic<int> handled{0};
    for (int signal = SIGRTMIN; signal <= SIGRTMAX - 3; ++signal) {
      if (signal == 50) continue;  // one is left
      struct sigaction action {};
      action.sa_handler = [](int) { handled++; };
      ASSERT_EQ(sigaction(signal, &action, nullptr), 0);
    }
    for (int round = 0; round < 20; ++round) {
      ASSERT_TRUE(world::stop());
      expect_still(counters);
      world::start();
    }
    EXPECT_EQ(handled, 0);
  });
}

// As by a program that handles whatever signal there is.
TEST(World, TheProgramTakesEverySignal) {
  in_own_process([] {
    const auto handle_all = [](void (*handler)(int)) {
      for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) std::signal(signal, handler);
    };
    ASSERT_TRUE(world::stop());
    world::start();
    handle_all([](int) {});
    testing::internal::CaptureStderr();
    EXPECT_FALSE(world::stop(1'000'000));
    EXPECT_FALSE(world::stop(1'000'000));
    EXPECT_EQ(testing::internal::GetCapturedStderr(),
              "warren: gc: nothing can be collected while the program handles each signal from 36 to 60\n");
    handle_all(SIG_DFL);
    EXPECT_TRUE(world::stop());
    world::start();
  });
}

TEST(World, NoSignalCanBeQueued) {
  in_own_process([] {
    Counters counters(2);
    ASSERT_TRUE(world::stop());
    world::start();
    rlimit before;
    ASSERT_EQ(getrlimit(RLIMIT_SIGPENDING, &before), 0);
    const rlimit none{0, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_SIGPENDING, &none), 0);
    testing::internal::CaptureStderr();
    for (int attempt = 0; attempt < 12; ++attempt) EXPECT_FALSE(world::stop(1'000'000'000));
    EXPECT_EQ(testing::internal::GetCapturedStderr(),
              "warren: gc: nothing can be collected while no signal can be queued (RLIMIT_SIGPENDING); it is tried again\n");
    ASSERT_EQ(setrlimit(RLIMIT_SIGPENDING, &before), 0);
    EXPECT_TRUE(world::stop());
    expect_still(counters);
    world::start();
  });
}

TEST(World, OurSignalFromElsewhereStopsNobody) {
  in_own_process([] {
    Counters counters(3);
    ASSERT_TRUE(world::stop());
    world::start();
    int ours = 0;
    for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) {
      struct sigaction action;
      sigaction(signal, nullptr, &action);
      if (action.sa_handler != SIG_DFL) ours = signal;
    }
    ASSERT_NE(ours, 0);
    std::atomic<bool> stop{false};
    std::thread sender([&] {
      while (!stop) {
        kill(getpid(), ours);
        sigval value;
        value.sival_int = 1;
        sigqueue(getpid(), ours, value);
      }
    });
    for (int round = 0; round < 200; ++round) {
      ASSERT_TRUE(world::stop());
      world::start();
    }
    stop = true;
    sender.join();
    const uint64_t before = counters.sum();
    while (counters.sum() == before) sched_yield();
  });
}

// A thread that cannot be interrupted does not keep the others from running; when it can be, the stop succeeds.
TEST(World, AThreadThatBlocksTheSignalForAWhile) {
  in_own_process([] {
    Counters counters(2);
    ASSERT_TRUE(world::stop());
    world::start();
    std::atomic<int> ready{0};
    std::thread deaf([&] {
      const uint64_t before = os_calls::set_signal_mask(~uint64_t{0});
      ready = 1;
      const uint64_t seen = counters.sum();
      const uint64_t began = os_calls::now();
      while (os_calls::now() - began < 1'000'000'000) os_calls::sleep(10'000'000);
      EXPECT_NE(counters.sum(), seen);
      os_calls::set_signal_mask(before);
    });
    await(ready, 1);
    ASSERT_TRUE(world::stop());
    expect_still(counters);
    world::start();
    deaf.join();
  });
}

// --- refusals ---

TEST(World, WithoutADescriptorNothingIsStopped) {
  in_own_process([] {
    Counters counters(2);
    ASSERT_TRUE(world::set_up());
    rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none{0, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    EXPECT_FALSE(world::stop());
    EXPECT_FALSE(world::stopped());
    const uint64_t seen = counters.sum();
    while (counters.sum() == seen) sched_yield();
    setrlimit(RLIMIT_NOFILE, &before);
    ASSERT_TRUE(world::stop());
    expect_still(counters);
    world::start();
  });
}

// The limit counts all of the user's processes: how many signals are to be had is not known.
TEST(World, FewSignalsToBeQueued) {
  in_own_process([] {
    Counters counters(24);
    ASSERT_TRUE(world::set_up());
    rlimit before;
    getrlimit(RLIMIT_SIGPENDING, &before);
    for (const rlim_t few : {rlim_t{8}, rlim_t{1}, rlim_t{0}}) {
      const rlimit limit{few, before.rlim_max};
      setrlimit(RLIMIT_SIGPENDING, &limit);
      if (world::stop()) {
        EXPECT_NE(few, 0u);
        expect_still(counters);
        world::start();
      }
      const uint64_t seen = counters.sum();
      while (counters.sum() == seen) sched_yield();
    }
    setrlimit(RLIMIT_SIGPENDING, &before);
    ASSERT_TRUE(world::stop());
    expect_still(counters);
    world::start();
  });
}

// The first thread has ended and stays as a zombie, which takes signals and never answers.
TEST(World, TheFirstThreadIsGone) {
  in_own_process([] {
    static std::atomic<int> first;
    first = static_cast<int>(os_calls::thread_id());
    std::thread([] {
      while (state_of(first) != 'Z') sched_yield();
      for (int round = 0; round < 5; ++round) {
        EXPECT_TRUE(world::stop());
        world::start();
      }
      _exit(::testing::Test::HasFailure() ? 1 : 0);
    }).detach();
    syscall(SYS_exit, 0);
  });
}

// A thread inside vfork cannot be interrupted. The others go on meanwhile.
TEST(World, AThreadInsideVfork) {
  in_own_process([] {
    Counters counters(2);
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    std::atomic<int> id{0};
    std::thread thread([&] {
      id = static_cast<int>(os_calls::thread_id());
      const pid_t child = vfork();
      if (child == 0) {
        char byte;
        if (read(ends[0], &byte, 1) != 1) _exit(1);
        _exit(0);
      }
      int status = -1;
      EXPECT_EQ(waitpid(child, &status, 0), child);
      EXPECT_EQ(status, 0);
    });
    await(id, 1);
    while (state_of(id) != 'D') sched_yield();
    std::thread stopper([] {
      EXPECT_TRUE(world::stop());
      world::start();
    });
    // Long enough for some attempts; in between all others run, this thread among them.
    for (int i = 0; i < 30; ++i) os_calls::sleep(10'000'000);
    const uint64_t seen = counters.sum();
    while (counters.sum() < seen + 100) sched_yield();
    EXPECT_EQ(write(ends[1], "x", 1), 1);
    stopper.join();
    thread.join();
  });
}

// --- the collector's own threads ---

TEST(World, TheCollectorsThreadsRunOn) {
  in_own_process([] {
    static std::atomic<uint64_t> count;
    static std::atomic<bool> stop;
    count = 0;
    stop = false;
    ASSERT_TRUE(world::start_collector_thread(
        [](void *) {
          while (!stop) count++;
        },
        nullptr, "test-collector"));
    EXPECT_EQ(world::thread_count(), 1u);
    Counters counters(2);
    for (int round = 0; round < 20; ++round) {
      ASSERT_TRUE(world::stop());
      expect_still(counters);
      const uint64_t before = count;
      while (count == before) sched_yield();
      world::start();
    }
    EXPECT_EQ(world::thread_count(), 3u);
    stop = true;
  });
}

TEST(World, ACollectorThreadStopsTheWorld) {
  in_own_process([] {
    static std::atomic<int> rounds;
    static const Hidden hidden(21);
    static std::atomic<int> found;
    Counters counters(4);
    rounds = 0;
    found = 0;
    volatile uint64_t place;
    hidden.put(&place);
    ASSERT_TRUE(world::start_collector_thread(
        [](void *) {
          for (int round = 0; round < 100; ++round) {
            if (!world::stop()) return;
            if (hidden.in_threads()) found++;
            world::start();
            rounds++;
          }
        },
        nullptr, "test-collector"));
    await(rounds, 100);
    EXPECT_EQ(found, 100);
  });
}

// --- fork ---

TEST(WorldFork, TheChildStopsItsOwnWorld) {
  in_own_process([] {
    world::install_fork_handlers();
    Counters counters(3);
    ASSERT_TRUE(world::stop());
    world::start();
    in_own_process([] {
      for (int round = 0; round < 10; ++round) {
        Counters own(2);
        ASSERT_TRUE(world::stop());
        expect_still(own);
        EXPECT_EQ(world::thread_count(), 3u);
        world::start();
      }
    });
    ASSERT_TRUE(world::stop());
    expect_still(counters);
    world::start();
  });
}

TEST(WorldFork, WhileTheWorldIsStoppedAgainAndAgain) {
  in_own_process([] {
    world::install_fork_handlers();
    std::atomic<bool> stop{false};
    std::thread stopper([&] {
      while (!stop) {
        ASSERT_TRUE(world::stop());
        world::start();
      }
    });
    for (int round = 0; round < 100; ++round) {
      in_own_process([] {
        ASSERT_TRUE(world::stop());
        world::start();
      });
    }
    stop = true;
    stopper.join();
  });
}

TEST(WorldFork, WhileTheWorldIsStoppedForTheFirstTime) {
  for (int round = 0; round < 50 && !::testing::Test::HasFailure(); ++round) {
    in_own_process([] {
      world::install_fork_handlers();
      std::atomic<int> begun{0};
      std::thread first([&] {
        begun = 1;
        ASSERT_TRUE(world::stop());
        world::start();
      });
      await(begun, 1);
      in_own_process([] {
        ASSERT_TRUE(world::stop());
        world::start();
      });
      first.join();
    });
  }
}

TEST(WorldFork, FromSeveralThreadsAtOnce) {
  in_own_process([] {
    world::install_fork_handlers();
    std::vector<std::thread> forkers;
    for (int i = 0; i < 3; ++i) {
      forkers.emplace_back([] {
        for (int round = 0; round < 30; ++round) {
          const pid_t child = fork();
          if (child == 0) {
            const bool stops = world::stop();
            if (stops) world::start();
            _exit(stops ? 0 : 1);
          }
          int status = -1;
          EXPECT_EQ(waitpid(child, &status, 0), child);
          EXPECT_EQ(status, 0);
        }
      });
    }
    for (int round = 0; round < 20; ++round) {
      ASSERT_TRUE(world::stop());
      world::start();
    }
    for (std::thread &one : forkers) one.join();
  });
}

// Children made behind libc's back.
TEST(WorldFork, WithoutHandlers) {
  in_own_process([] {
    Counters counters(3);
    ASSERT_TRUE(world::stop());
    world::start();
    in_own_process([] {
      ASSERT_TRUE(world::stop());
      world::start();
    });
  });
}

}  // namespace
}  // namespace warren::gc
