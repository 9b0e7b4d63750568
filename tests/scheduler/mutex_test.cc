// mutex and rw_mutex: warren/sync.h, on tasks of either kind.
// Invariant: races are forced by their number; a lost wake-up is a hang, which the watchdog ends.
#include "tests/faults/syscall_filter.h"
#include "tests/scheduler/tasks.h"

#include <chrono>
#include <csignal>
#include <memory>
#include <mutex>
#include <random>
#include <shared_mutex>
#include <sys/mman.h>
#include <sys/wait.h>

namespace warren {
namespace {

// Of the word: somebody waits; somebody has waited.
constexpr uint32_t kWaiting = 4, kContended = 32;

// Nothing is left behind but that somebody has waited.
bool is_left_alone(uint32_t state) { return state == 0 || (state & 63) == kContended; }

// Unlocks are plain stores where nobody has waited and a run has been started, though it has ended.
void start_a_run() {
  if (!kFibers) run([] {});
}

TASK_TEST(Mutex, TryLockAndLockable) {
  mutex m;
  EXPECT_TRUE(m.try_lock());
  EXPECT_FALSE(m.try_lock());
  m.unlock();
  {
    std::unique_lock lock(m);
    EXPECT_FALSE(m.try_lock());
  }
  mutex other;
  std::scoped_lock both(m, other);
  EXPECT_FALSE(other.try_lock());
}

TASK_TEST(Mutex, ExclusiveUnderContention) {
  mutex m;
  uint64_t counter = 0;
  constexpr int kTasks = 6, kRounds = 20000;
  {
    Tasks tasks;
    for (int t = 0; t < kTasks; ++t) {
      tasks.spawn([&] {
        for (int i = 0; i < kRounds; ++i) {
          std::lock_guard guard(m);
          ++counter;
        }
      });
    }
  }
  EXPECT_EQ(counter, uint64_t{kTasks * kRounds});
  EXPECT_TRUE(is_left_alone(m.get()->state)) << m.get()->state;
}

// The owner gives its place away while it holds the mutex, so that the others queue.
TASK_TEST(Mutex, WaitersAreWokenEachTime) {
  mutex m;
  std::atomic<bool> inside{false};
  {
    Tasks tasks;
    for (int t = 0; t < 5; ++t) {
      tasks.spawn([&] {
        for (int i = 0; i < 1000; ++i) {
          m.lock();
          EXPECT_FALSE(inside.exchange(true));
          let_others_run(3);
          inside = false;
          m.unlock();
          if (i % 3 == 0 && m.try_lock()) m.unlock();
        }
      });
    }
  }
  EXPECT_TRUE(is_left_alone(m.get()->state)) << m.get()->state;
}

// One that holds the mutex nearly all the time does not keep the others out: starvation mode.
TASK_TEST(Mutex, HogLetsOthersIn) {
  mutex m;
  std::atomic<bool> stop{false};
  Tasks tasks;
  tasks.spawn([&] {
    while (!stop) {
      m.lock();
      wr_sleep_ns(200000);
      m.unlock();
    }
  });
  for (int i = 0; i < 20; ++i) {
    wr_sleep_ns(100000);
    m.lock();
    m.unlock();
  }
  stop = true;
}

// Who is last to unlock an object's mutex destroys it, while the one before may be on its way out of unlock.
TASK_TEST(Mutex, DestroyedByTheNextOwner) {
  struct Object {
    mutex m;
    int references = 3;
  };
  for (int round = 0; round < 2000; ++round) {
    auto *object = new Object;
    const auto drop = [object] {
      object->m.lock();
      const bool last = --object->references == 0;
      object->m.unlock();
      if (last) {
        memset(static_cast<void *>(object), 0xff, sizeof *object);
        delete object;
      }
    };
    Tasks tasks;
    for (int t = 0; t < 3; ++t) tasks.spawn(drop);
  }
}

// Each mutex here is new, and meets its first waiters while others lock and unlock it. Programs that were compiled earlier unlock by an
// exchange of their own.
TASK_TEST(Mutex, FirstWaitersAgainstUnlocks) {
  start_a_run();
  const unsigned seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  constexpr int kTasks = 3, kMutexes = 200;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  for (unsigned round = 0; std::chrono::steady_clock::now() < end; ++round) {
    std::vector<wr_mutex> mutexes(kMutexes);
    std::vector<int> counts(kMutexes);
    {
      Tasks tasks;
      for (unsigned t = 0; t < kTasks; ++t) {
        tasks.spawn([&mutexes, &counts, random = std::mt19937(seed + round * kTasks + t)]() mutable {
          for (size_t i = 0; i < kMutexes; ++i) {
            wr_mutex *m = &mutexes[i];
            wr_mutex_lock(m);
            ++counts[i];
            const auto drawn = static_cast<unsigned>(random());
            if (drawn % 8 == 0) wr_yield();
            for (unsigned n = drawn / 16 % 64; n != 0; --n) __builtin_ia32_pause();
            uint32_t locked = 1;
            if (drawn % 16 < 14 || !__atomic_compare_exchange_n(&m->state, &locked, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
              wr_mutex_unlock(m);
          }
        });
      }
    }
    for (size_t i = 0; i < kMutexes; ++i) {
      ASSERT_EQ(counts[i], kTasks);
      ASSERT_TRUE(is_left_alone(mutexes[i].state)) << mutexes[i].state;
    }
  }
}

// The owner is stopped after it has looked at the word and before it stores: by a fault at the store, for its page is mapped twice
// and cannot be written where the owner has it. Meanwhile somebody comes and waits.
struct HeldUnlock {
  static constexpr size_t kBytes = 4096;
  static inline wr_mutex *owners = nullptr;
  static inline wr_mutex *waiters = nullptr;
  static inline std::atomic<bool> held{false};
  static inline struct sigaction before {};

  static void on_fault(int, siginfo_t *information, void *) {
    if (information->si_addr != &owners->state) {
      sigaction(SIGSEGV, &before, nullptr);  // it comes again
      return;
    }
    held = true;
    while ((__atomic_load_n(&waiters->state, __ATOMIC_RELAXED) & kWaiting) == 0) usleep(100);
    mprotect(owners, kBytes, PROT_READ | PROT_WRITE);
  }
};

TASK_TEST(Mutex, UnlockIsHeldBeforeItsStore) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "what is stored at one of the addresses is not known to be read at the other; there are no sequences either";
#endif
  using H = HeldUnlock;
  start_a_run();
  const int memory = memfd_create("mutex", 0);
  ASSERT_EQ(ftruncate(memory, H::kBytes), 0);
  const auto map = [memory] {
    return static_cast<wr_mutex *>(mmap(nullptr, H::kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0));
  };
  H::owners = map();
  H::waiters = map();
  struct sigaction action {};
  action.sa_sigaction = H::on_fault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, &H::before);
  std::thread owner([] {
    wr_mutex_lock(H::owners);
    mprotect(H::owners, H::kBytes, PROT_READ);
    wr_mutex_unlock(H::owners);
  });
  wait_until([] { return H::held.load(); });
  wr_mutex_lock(H::waiters);
  wr_mutex_unlock(H::waiters);
  owner.join();
  sigaction(SIGSEGV, &H::before, nullptr);
  // Nobody waits from now on: at last unlocks are stores again.
  EXPECT_EQ(H::waiters->state & 63, kContended);
  for (int i = 0; i < 10000; ++i) {
    wr_mutex_lock(H::waiters);
    wr_mutex_unlock(H::waiters);
  }
  EXPECT_EQ(H::waiters->state, 0u);
  munmap(H::owners, H::kBytes);
  munmap(H::waiters, H::kBytes);
  close(memory);
}

// In a forked child the fence is to be had as well: the first waiter does not have to ask again until the mutex is free.
TEST(Mutex, FirstWaiterInAForkedChild) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "it ends a forked child that starts threads";
#endif
  run([] {});
  const pid_t child = fork();
  if (child == 0) {
    alarm(kWatchdogSeconds);
    wr_mutex m = WR_INIT;
    wr_mutex_lock(&m);
    std::thread waiter([&m] {
      wr_mutex_lock(&m);
      wr_mutex_unlock(&m);
    });
    while ((__atomic_load_n(&m.state, __ATOMIC_RELAXED) & kWaiting) == 0) usleep(100);
    wr_mutex_unlock(&m);
    waiter.join();
    _exit(0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TASK_TEST(RwMutex, States) {
  rw_mutex m;
  m.lock_shared();
  EXPECT_TRUE(m.try_lock_shared());
  EXPECT_FALSE(m.try_lock());
  m.unlock_shared();
  m.unlock_shared();
  EXPECT_TRUE(m.try_lock());
  EXPECT_FALSE(m.try_lock());
  EXPECT_FALSE(m.try_lock_shared());
  m.unlock();
  std::shared_lock reader(m);
  EXPECT_TRUE(m.try_lock_shared());
  m.unlock_shared();
}

TASK_TEST(RwMutex, ReadersShareAndWritersDoNot) {
  rw_mutex m;
  std::atomic<int> readers{0}, writers{0}, most_readers{0};
  {
    Tasks tasks;
    for (int t = 0; t < 4; ++t) {
      tasks.spawn([&] {
        for (int i = 0; i < 2000; ++i) {
          std::shared_lock lock(m);
          const int now = ++readers;
          if (now > most_readers) most_readers = now;
          EXPECT_EQ(writers, 0);
          if (i % 50 == 0) let_others_run(2);
          --readers;
        }
      });
    }
    for (int t = 0; t < 2; ++t) {
      tasks.spawn([&] {
        for (int i = 0; i < 1000; ++i) {
          std::unique_lock lock(m);
          EXPECT_EQ(++writers, 1);
          EXPECT_EQ(readers, 0);
          if (i % 50 == 0) let_others_run(2);
          --writers;
        }
      });
    }
  }
  EXPECT_TRUE(m.try_lock());
}

// Readers that overlap for ever would keep a writer out, if those that come after it did not wait.
TASK_TEST(RwMutex, WriterIsNotStarved) {
  rw_mutex m;
  std::atomic<bool> stop{false};
  std::atomic<int> holding{0};
  Tasks tasks;
  for (int t = 0; t < 3; ++t) {
    tasks.spawn([&] {
      while (!stop) {
        m.lock_shared();
        holding++;
        for (int i = 0; i < 100 && holding < 2; ++i) yield();
        m.unlock_shared();
        holding--;
        yield();
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    m.lock();
    m.unlock();
  }
  stop = true;
}

TASK_TEST(RwMutex, ReadersRunTogether) {
  rw_mutex m;
  std::atomic<int> inside{0};
  Tasks tasks;
  for (int t = 0; t < 3; ++t) {
    tasks.spawn([&] {
      std::shared_lock lock(m);
      inside++;
      wait_until([&] { return inside == 3; });
    });
  }
}

// A program that shuts itself in while it runs: what was promised is refused, and who would wait asks again and again.
TEST(MutexDeathTest, FenceIsRefusedLater) {
  const auto shut_in_and_wait = [] {
    start_a_run();
    if (!syscall_filter::deny("membarrier", EPERM, syscall_filter::Threads::kAll)) return;
    mutex m;
    int counter = 0;
    {
      Tasks tasks;
      for (int t = 0; t < 3; ++t) {
        tasks.spawn([&] {
          for (int i = 0; i < 100; ++i) {
            std::lock_guard guard(m);
            ++counter;
            wr_sleep_ns(10000);
          }
        });
      }
    }
    if (counter != 300) abort();
  };
  EXPECT_EXIT((on_task(shut_in_and_wait), _exit(0)), testing::ExitedWithCode(0), "");
}

TEST(MutexDeathTest, UnlockOfUnlocked) {
  EXPECT_EXIT(wr_mutex_unlock(std::make_unique<wr_mutex>().get()),
              testing::ExitedWithCode(2), "fatal error: sync: unlock of unlocked mutex");
  EXPECT_EXIT(mutex().unlock(), testing::ExitedWithCode(2), "fatal error: sync: unlock of unlocked mutex");
  EXPECT_EXIT(rw_mutex().unlock(), testing::ExitedWithCode(2), "fatal error: sync: Unlock of unlocked RWMutex");
  EXPECT_EXIT(rw_mutex().unlock_shared(), testing::ExitedWithCode(2), "fatal error: sync: RUnlock of unlocked RWMutex");
}

}  // namespace
}  // namespace warren
