// The heap around fork: allocator/fork.h. Run as a test of its own.
// Invariant: every child allocates and frees in every class, finds no lock held and no cache but its own, and its pages
// can be walked; the parent goes on meanwhile.
#include "allocator/fork.h"

#include "allocator/central.h"
#include "allocator/heap.h"
#include "allocator/metadata.h"
#include "allocator/stats.h"
#include "allocator/thread.h"
#include "tests/allocator/own_process.h"
#include "tests/allocator/page_walk.h"

#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace warren {
namespace {

void *take(size_t size) { return allocate<allocate_slow>(size); }
void free_slow(void *block) { release_slow(block, "free"); }
void give(void *block) { release<free_slow>(block); }

unsigned caches() {
  unsigned count = 0;
  threads::for_each_cache([](Cache &, void *context) { ++*static_cast<unsigned *>(context); }, &count);
  return count;
}

void use_every_class() {
  std::vector<void *> blocks;
  for (size_t size = 1; size < kMaxClassSize + 3 * kPageSize; size += size / 12 + 1) {
    auto *block = static_cast<char *>(take(size));
    ASSERT_NE(block, nullptr);
    block[0] = block[size - 1] = 1;
    blocks.push_back(block);
  }
  for (void *block : blocks) give(block);
}

TEST(Fork, AChildOfAQuietProcess) {
  in_own_process([] {
    fork_handlers::install();
    use_every_class();
    void *block = take(1000);
    memset(block, 0x42, 1000);
    in_own_process([block] {
      EXPECT_EQ(caches(), 1u);
      for (size_t i = 0; i < 1000; ++i) EXPECT_EQ(static_cast<char *>(block)[i], 0x42);
      give(block);
      use_every_class();
      release_free_memory();
      walk_pages();
      std::thread(use_every_class).join();
    });
    give(block);
    use_every_class();
    walk_pages();
  });
}

TEST(Fork, LocksAreFreeOnBothSides) {
  in_own_process([] {
    fork_handlers::install();
    give(take(1));
    const auto expect_free = [] {
      EXPECT_FALSE(page_heap::lock.held_by_me());
      EXPECT_FALSE(metadata::lock.held_by_me());
      for (Central &central : centrals) EXPECT_FALSE(central.lock().held_by_me());
      wr_mem_stats now;
      stats::read(now);  // takes all of them
    };
    in_own_process(expect_free);
    expect_free();
  });
}

// The caches of the threads that a child does not have: their blocks are not lost.
TEST(Fork, TheChildAdoptsTheCachesOfTheDead) {
  in_own_process([] {
    fork_handlers::install();
    give(take(1));
    std::atomic<int> ready{0};
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        std::vector<void *> blocks;
        for (size_t size = 8; size < 5000; size += 8) blocks.push_back(take(size));
        for (void *block : blocks) give(block);
        ready++;
        while (!stop) std::this_thread::yield();
      });
    }
    while (ready != 3) std::this_thread::yield();
    EXPECT_EQ(caches(), 4u);
    in_own_process([] {
      EXPECT_EQ(caches(), 1u);
      release_free_memory();
      const page_heap::Stats pages = page_heap::stats();
      EXPECT_EQ(pages.free_pages, pages.grown_pages - 1) << "nothing is left in a cache that nobody owns";
      walk_pages();
    });
    stop = true;
    for (std::thread &thread : threads) thread.join();
    EXPECT_EQ(caches(), 1u);
  });
}

TEST(Fork, WhileThreadsAreInsideTheHeap) {
  in_own_process([] {
    fork_handlers::install();
    use_every_class();
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (unsigned id = 0; id < 3; ++id) {
      threads.emplace_back([&stop, id] {
        std::mt19937 random(id);
        std::vector<void *> mine;
        while (!stop) {
          if (mine.size() < 200) {
            mine.push_back(take(random() % (size_t{1} << (random() % 19))));
          } else {
            for (void *block : mine) give(block);
            mine.clear();
            if (random() % 16 == 0) release_free_memory();
          }
        }
        for (void *block : mine) give(block);
      });
    }
    for (int round = 0; round < 25; ++round) {
      in_own_process([] {
        EXPECT_EQ(caches(), 1u);
        use_every_class();
        release_free_memory();
        walk_pages();
      });
      use_every_class();
      if (::testing::Test::HasFailure()) break;
    }
    stop = true;
    for (std::thread &thread : threads) thread.join();
    walk_pages();
  });
}

TEST(Fork, ChildrenOfChildren) {
  in_own_process([] {
    fork_handlers::install();
    use_every_class();
    in_own_process([] {
      use_every_class();
      in_own_process([] {
        use_every_class();
        in_own_process([] { use_every_class(); });
      });
    });
  });
}

// Fork in a signal handler that interrupted the heap: the interrupted operation goes on in both processes.
TEST(Fork, InsideASlowOperation) {
  in_own_process([] {
    fork_handlers::install();
    use_every_class();
    {
      const CacheAccess interrupted;
      in_own_process([] {
        void *block = take(100);
        EXPECT_NE(block, nullptr);
        give(block);
      });
    }
    use_every_class();
    walk_pages();
  });
}

// What runs between the heap's handlers of fork, as a signal handler may: handlers that were there before ours come after it. A thread
// has blocks of each class at hand and none, and all locks of the heap are its own.
std::vector<void *> asked_for_in_fork;

void ask_in_fork() {
  for (size_t size = 1; size <= 3 * kMaxClassSize; size += size / 2 + 1) {
    for (int i = 0; i < 2; ++i) {
      void *block = take(size);
      if (block != nullptr) memset(block, 0x5a, size);  // the emergency pool is small
      asked_for_in_fork.push_back(block);
    }
  }
  EXPECT_NE(asked_for_in_fork[0], nullptr);
  for (size_t i = 0; i < asked_for_in_fork.size(); i += 2) give(asked_for_in_fork[i]);
}

TEST(Fork, AHandlerInsideForkWaitsForNoLock) {
  in_own_process([] {
    asked_for_in_fork.reserve(100);
    pthread_atfork(ask_in_fork, nullptr, nullptr);  // before ours, so it runs after it
    fork_handlers::install();
    std::thread(use_every_class).join();
    for (const bool used : {false, true}) {  // this thread has not, and has, a cache
      if (used) use_every_class();
      asked_for_in_fork.clear();
      in_own_process([] {
        for (size_t i = 1; i < asked_for_in_fork.size(); i += 2) give(asked_for_in_fork[i]);
        use_every_class();
        EXPECT_NE(cache_distance, 0);
        walk_pages();
      });
      for (size_t i = 1; i < asked_for_in_fork.size(); i += 2) give(asked_for_in_fork[i]);
      use_every_class();
      EXPECT_NE(cache_distance, 0) << "the thread has its cache again";
      walk_pages();
    }
  });
}

// A handler that interrupts fork may fork as well.
TEST(Fork, AForkInsideAFork) {
  in_own_process([] {
    static bool inside;
    static int inner_status;
    inside = false;
    inner_status = -1;
    pthread_atfork([] {
      if (inside) return;
      inside = true;
      const pid_t child = fork();
      if (child == 0) _exit(0);
      waitpid(child, &inner_status, 0);
    }, nullptr, nullptr);
    fork_handlers::install();
    use_every_class();
    in_own_process([] {
      use_every_class();
      walk_pages();
    });
    EXPECT_EQ(inner_status, 0);
    use_every_class();
    EXPECT_NE(cache_distance, 0);
    walk_pages();
  });
}

pid_t fork_with_the_lock_held() NO_THREAD_SAFETY_ANALYSIS {
  const CacheAccess interrupted;
  page_heap::lock.lock();
  const pid_t child = fork();
  EXPECT_TRUE(page_heap::lock.held_by_me()) << "the interrupted operation still holds it";
  page_heap::lock.unlock();
  return child;
}

TEST(Fork, WithALockOfTheHeapHeldByTheForkingThread) {
  in_own_process([] {
    fork_handlers::install();
    use_every_class();
    const pid_t child = fork_with_the_lock_held();
    use_every_class();
    walk_pages();
    if (child == 0) _exit(::testing::Test::HasFailure() ? 1 : 0);
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  });
}

}  // namespace
}  // namespace warren
