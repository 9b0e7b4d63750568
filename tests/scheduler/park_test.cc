// park() and ready(): that no wake-up is lost, however early it comes and wherever from. And wr_preempt_point.
#include "fibers.h"
#include "scheduler/park.h"
#include "scheduler/take_p.h"

#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace {

using namespace fibers;
using namespace warren::scheduler;

TEST(Park, ReadyBeforeParkMakesItReturnAtOnce) {
  run_on(1, [] {
    std::atomic<int> done{0};
    go([&] {
      G *self = current();
      ready(self);
      park(nullptr, nullptr, WaitReason::kSemaphore);
      ++done;
    });
    await(done, 1);
  });
}

TEST(Park, OfAPlainThread) {
  G *self = current();
  ASSERT_EQ(self, current());
  ready(self);
  park(nullptr, nullptr, WaitReason::kSemaphore);
  std::thread other([self] { ready(self); });
  park(nullptr, nullptr, WaitReason::kSemaphore);
  other.join();
  // Cancelled.
  park([](G *, void *) { return false; }, nullptr, WaitReason::kSemaphore);
}

TEST(Park, UnlockMayCancel) {
  for (const int procs : {1, 2}) {
    run_on(procs, [] {
      std::atomic<int> done{0};
      for (int i = 0; i < 100; ++i) {
        go([&] {
          struct Seen {
            G *g = nullptr;
            int calls = 0;
          } seen;
          park(
              [](G *g, void *argument) {
                auto *s = static_cast<Seen *>(argument);
                s->g = g;
                ++s->calls;
                return false;
              },
              &seen, WaitReason::kSemaphore);
          EXPECT_EQ(seen.g, current());
          EXPECT_EQ(seen.calls, 1);
          ++done;
        });
      }
      await(done, 100);
    });
  }
}

TEST(Park, ReadyFromWithinUnlock) {
  for (const int procs : {1, 2}) {
    run_on(procs, [] {
      std::atomic<int> done{0};
      for (int i = 0; i < 1000; ++i) {
        go([&] {
          park(
              [](G *g, void *) {
                ready(g);
                return true;
              },
              nullptr, WaitReason::kSemaphore);
          ++done;
        });
      }
      await(done, 1000);
    });
  }
}

// Given up by another thread than the one that took it, which a std::mutex does not allow.
class SpinLock {
 public:
  void lock() {
    while (taken_.test_and_set(std::memory_order_acquire)) std::this_thread::yield();
  }
  void unlock() { taken_.clear(std::memory_order_release); }

 private:
  std::atomic_flag taken_;
};

// A counting semaphore from nothing but park and ready, with the lock handed over by unlock.
class Semaphore {
 public:
  void acquire() {
    lock_.lock();
    if (count_ > 0) {
      --count_;
      lock_.unlock();
      return;
    }
    waiting_.push_back(current());
    park(
        [](G *, void *argument) {
          static_cast<SpinLock *>(argument)->unlock();
          return true;
        },
        &lock_, WaitReason::kSemaphore);
  }
  // As acquire(), but the lock is released first: ready() may come before park().
  void acquire_early() {
    lock_.lock();
    if (count_ > 0) {
      --count_;
      lock_.unlock();
      return;
    }
    waiting_.push_back(current());
    lock_.unlock();
    park(nullptr, nullptr, WaitReason::kSemaphore);
  }
  void release() {
    G *woken = nullptr;
    {
      const std::lock_guard<SpinLock> hold(lock_);
      if (waiting_.empty()) {
        ++count_;
      } else {
        woken = waiting_.front();
        waiting_.erase(waiting_.begin());
      }
    }
    if (woken != nullptr) ready(woken);
  }

 private:
  SpinLock lock_;  // never held across a switch, but by the unlock function that ends it on the same thread
  int count_ = 0;
  std::vector<G *> waiting_;
};

void storm(int procs, bool early, int threads) {
  run_on(procs, [=] {
    const unsigned seed = std::random_device{}();
    std::printf("seed %u\n", seed);  // SCOPED_TRACE lives in the thread, fibers do not
    constexpr int kFibers = 40;
    constexpr int kRounds = 300;
    Semaphore semaphores[4];
    std::atomic<int> done{0};
    const auto member = [&](unsigned number) {
      std::mt19937 random(seed + number);
      for (int i = 0; i < kRounds; ++i) {
        Semaphore &s = semaphores[random() % 4];
        if (random() % 8 == 0) wr_yield();
        s.release();
        if (random() % 16 == 0) wr_sleep_ns(static_cast<int64_t>(random() % 50000));
        early ? s.acquire_early() : s.acquire();
      }
      ++done;
    };
    std::vector<std::thread> others;
    for (int t = 0; t < threads; ++t) others.emplace_back(member, 1000u + static_cast<unsigned>(t));
    for (unsigned f = 0; f < kFibers; ++f) go([&, f] { member(f); });
    await(done, kFibers + threads);
    for (auto &other : others) other.join();
  });
}

TEST(Park, StormOnOneP) { storm(1, false, 0); }
TEST(Park, StormOnManyPs) { storm(4, false, 0); }
TEST(Park, StormWithEarlyWakeUps) { storm(4, true, 0); }
TEST(Park, StormWithEarlyWakeUpsOnOneP) { storm(1, true, 2); }
TEST(Park, StormWithPlainThreadsOnOneP) { storm(1, false, 3); }
TEST(Park, StormWithPlainThreads) { storm(3, false, 3); }
TEST(Park, StormWithPlainThreadsAndEarlyWakeUps) { storm(3, true, 3); }

// Go's PingPongHog: two fibers that wake each other share a slice and must not starve two others on the same P.
TEST(Park, APairThatWakesEachOtherDoesNotStarveTheRest) {
  run_on(1, [] {
    std::atomic<bool> end{false};
    std::atomic<long> turns{0};
    std::atomic<int> done{0};
    Semaphore a;
    Semaphore b;
    const auto pair = [&](Semaphore &mine, Semaphore &others) {
      while (!end) {
        others.release();
        mine.acquire();
      }
      others.release();
      ++done;
    };
    go([&] { pair(a, b); });
    go([&] { pair(b, a); });
    go([&] {
      while (turns < 1000) {
        ++turns;
        wr_yield();
      }
      end = true;
      ++done;
    });
    await(done, 3);
  });
}

// Whatever of the runtime's sees the request first, the next checkpoint yields.
TEST(PreemptPoint, YieldsWhenASliceIsOver) {
  run_on(1, [] {
    for (const bool seen : {false, true}) {
      std::atomic<int> others{0};
      go([&] { ++others; });
      ask(sched.ps[0]);
      if (seen) wr_unlock_os_thread();  // a call that does not switch
      wr_preempt_point();
      EXPECT_EQ(others, 1) << seen;
    }
  });
}

}  // namespace
