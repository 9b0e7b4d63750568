// mutex and rw_mutex: warren/sync.h, on tasks of either kind.
// Invariant: races are forced by their number; a lost wake-up is a hang, which the watchdog ends.
#include "tests/scheduler/tasks.h"

#include <memory>
#include <mutex>
#include <shared_mutex>

namespace warren {
namespace {

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
  EXPECT_EQ(m.get()->state, 0u) << "nothing is left behind";
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
  EXPECT_EQ(m.get()->state, 0u);
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

TEST(MutexDeathTest, UnlockOfUnlocked) {
  EXPECT_EXIT(wr_mutex_unlock(std::make_unique<wr_mutex>().get()),
              testing::ExitedWithCode(2), "fatal error: sync: unlock of unlocked mutex");
  EXPECT_EXIT(mutex().unlock(), testing::ExitedWithCode(2), "fatal error: sync: unlock of unlocked mutex");
  EXPECT_EXIT(rw_mutex().unlock(), testing::ExitedWithCode(2), "fatal error: sync: Unlock of unlocked RWMutex");
  EXPECT_EXIT(rw_mutex().unlock_shared(), testing::ExitedWithCode(2), "fatal error: sync: RUnlock of unlocked RWMutex");
}

}  // namespace
}  // namespace warren
