// The futex mutex: allocator/base/mutex.h. Run by base_test.
// Invariant: counters written under the lock come out exact; a lost wake-up is a hang, which the watchdog ends.
#include "allocator/base/mutex.h"

#include "tests/allocator/own_process.h"

#include <atomic>
#include <csignal>
#include <sched.h>
#include <thread>
#include <vector>

namespace warren {
namespace {

constinit Mutex lock(LockRank::kCentral);
uint64_t counter GUARDED_BY(lock) = 0;

// For handlers and threads that look at the lock from outside.
void lock_it() NO_THREAD_SAFETY_ANALYSIS { lock.lock(); }
void unlock_it() NO_THREAD_SAFETY_ANALYSIS { lock.unlock(); }
uint64_t counted() {
  MutexLock guard(lock);
  return counter;
}

TEST(Mutex, HeldByMeIsMineOnly) {
  EXPECT_FALSE(lock.held_by_me());
  lock_it();
  EXPECT_TRUE(lock.held_by_me());
  std::thread([] { EXPECT_FALSE(lock.held_by_me()); }).join();
  unlock_it();
  EXPECT_FALSE(lock.held_by_me());
}

TEST(Mutex, AHandlerSeesThatItInterruptedTheOwner) {
  static std::atomic<int> seen;
  signal(SIGUSR1, [](int) { seen.store(lock.held_by_me() ? 1 : 0); });
  seen.store(-1);
  lock_it();
  raise(SIGUSR1);
  EXPECT_EQ(seen.load(), 1);
  unlock_it();
  raise(SIGUSR1);
  EXPECT_EQ(seen.load(), 0);
  signal(SIGUSR1, SIG_DFL);
}

TEST(Mutex, GuardReleases) {
  {
    MutexLock guard(lock);
    EXPECT_TRUE(lock.held_by_me());
  }
  EXPECT_FALSE(lock.held_by_me());
}

TEST(Mutex, ContentionLosesNothing) {
  constexpr unsigned kThreads = 6;
  constexpr uint64_t kRounds = 20000;
  const uint64_t before = counted();
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([] {
      for (uint64_t round = 0; round < kRounds; ++round) {
        MutexLock guard(lock);
        ++counter;
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(counted() - before, kThreads * kRounds);
}

// The owner gives its CPU away while it holds the lock, so that the others run out of spins and sleep.
TEST(Mutex, SleepersAreWokenEachTime) {
  constexpr unsigned kThreads = 5;
  constexpr unsigned kRounds = 400;
  static std::atomic<bool> inside;
  static std::atomic<unsigned> overlaps;
  overlaps = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([] {
      for (unsigned round = 0; round < kRounds; ++round) {
        MutexLock guard(lock);
        if (inside.exchange(true)) overlaps++;
        for (int yield = 0; yield < 4; ++yield) sched_yield();
        inside = false;
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(overlaps, 0u);
}

TEST(Mutex, ForkTakesWhatIsFreeAndLeavesWhatIsMine) {
  EXPECT_TRUE(lock.lock_for_fork());
  EXPECT_TRUE(lock.held_by_me());
  EXPECT_FALSE(lock.lock_for_fork()) << "this very thread holds it";
  lock.unlock_after_fork(false);
  EXPECT_FALSE(lock.held_by_me());
}

TEST(Mutex, ForkWaitsForOtherThreads) {
  std::atomic<bool> go{false};
  std::atomic<int> stage{0};
  lock_it();
  std::thread other([&] {
    stage = 1;
    EXPECT_TRUE(lock.lock_for_fork());
    EXPECT_TRUE(go.load()) << "the lock was held";
    lock.unlock_after_fork(false);
  });
  while (stage != 1) sched_yield();
  for (int i = 0; i < 200; ++i) sched_yield();  // a chance to get it wrong
  go = true;
  unlock_it();
  other.join();
}

TEST(Mutex, TheChildsLockIsFree) {
  ASSERT_TRUE(lock.lock_for_fork());
  in_own_process([] {
    lock.unlock_after_fork(true);
    EXPECT_FALSE(lock.held_by_me());
    const uint64_t before = counted();
    std::thread([] {
      MutexLock guard(lock);
      ++counter;
    }).join();
    EXPECT_EQ(counted(), before + 1);
  });
  lock.unlock_after_fork(false);
  counted();  // and the parent's is free as well
}

// Threads sleep on the lock in the parent while it forks; the child has none of them, and no word of them.
TEST(Mutex, ForkUnderContention) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        MutexLock guard(lock);
        ++counter;
        sched_yield();
      }
    });
  }
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(lock.lock_for_fork());
    const pid_t child = fork();
    if (child == 0) {
      alarm(30);
      lock.unlock_after_fork(true);
      lock_it();
      unlock_it();
      _exit(0);
    }
    lock.unlock_after_fork(false);
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0) << round;
  }
  stop = true;
  for (std::thread &thread : threads) thread.join();
}

}  // namespace
}  // namespace warren
