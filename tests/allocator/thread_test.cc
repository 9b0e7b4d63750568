// A thread's relation to the heap: allocator/thread.h. Run as a test of its own.
// Invariant: when a thread is gone, so is its cache, and every block it had cached can be allocated by others.
#include "allocator/thread.h"

#include "allocator/central.h"
#include "allocator/heap.h"
#include "allocator/object_map.h"
#include "allocator/stats.h"
#include "tests/allocator/own_heap.h"
#include "tests/allocator/page_walk.h"

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstring>
#include <iterator>
#include <pthread.h>
#include <sched.h>
#include <set>
#include <thread>
#include <utility>
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

uint64_t live() {
  wr_mem_stats now;
  stats::read(now);
  return now.heap_objects;
}

TEST(Thread, TheFirstSlowOperationMakesACache) {
  in_own_heap([] {
    EXPECT_EQ(caches(), 0u);
    EXPECT_EQ(cache_distance, 0);
    give(take(100));
    EXPECT_EQ(caches(), 1u);
    EXPECT_NE(cache_distance, 0);
    std::thread([] {
      EXPECT_EQ(cache_distance, 0) << "each thread begins without one";
      give(take(100));
      EXPECT_EQ(caches(), 2u);
    }).join();
    EXPECT_EQ(caches(), 1u);
  });
}

TEST(Thread, AThreadThatOnlyFreesGetsOneAsWell) {
  in_own_heap([] {
    std::vector<void *> blocks;
    for (int i = 0; i < 1000; ++i) blocks.push_back(take(64));
    const uint64_t before = live();
    std::thread([&blocks] {
      for (void *block : blocks) give(block);
    }).join();
    EXPECT_EQ(live(), before - 1000);
    EXPECT_EQ(caches(), 1u);
  });
}

// In strict turns, which is the worst order for them: each of their refills comes between two of the other's.
TEST(Thread, TwoThatWorkSideBySideWriteToNoLineOfMarksTogether) {
  in_own_heap([] {
    constexpr size_t kSizes[] = {16, 32, 48, 64, 96};
    constexpr int kBlocks = 600;
    std::atomic<int> turn{0};
    std::set<uintptr_t> lines[2];
    const auto work = [&](int own) {
      std::vector<std::pair<void *, size_t>> blocks;
      for (int i = 0; i < kBlocks; ++i) {
        for (const size_t size : kSizes) {
          while (turn.load(std::memory_order_acquire) % 2 != own) sched_yield();
          blocks.emplace_back(take(size), size);
          turn.fetch_add(1, std::memory_order_release);
        }
      }
      for (const auto &[block, size] : blocks) lines[own].insert(address_of(object_map::fine(address_of(block))) >> kCacheLineLog);
    };
    give(take(1));
    std::thread first(work, 0), second(work, 1);
    first.join();
    second.join();
    std::vector<uintptr_t> shared;
    std::set_intersection(lines[0].begin(), lines[0].end(), lines[1].begin(), lines[1].end(), std::back_inserter(shared));
    EXPECT_EQ(shared.size(), 0u) << "of " << lines[0].size();
  });
}

TEST(Thread, ThreadsAreSpreadOverTheShards) {
  in_own_heap([] {
    const auto own_shard = [] {
      give(take(1));
      return CacheAccess().cache()->shard;
    };
    EXPECT_EQ(own_shard(), 0u);
    for (int round = 0; round < 3; ++round) {  // who goes leaves a place
      std::set<unsigned> shards;
      const auto add_one = [&](auto &self) -> void {  // all live at once
        std::thread([&] {
          shards.insert(own_shard());
          if (shards.size() < kShards - 1) self(self);
        }).join();
      };
      add_one(add_one);
      EXPECT_EQ(shards, (std::set<unsigned>{1, 2, 3}));
    }
  });
}

TEST(Thread, InsideASlowOperationThereIsNoCache) {
  in_own_heap([] {
    give(take(100));
    const intptr_t distance = cache_distance;
    {
      const CacheAccess outer;
      EXPECT_FALSE(outer.reentered());
      EXPECT_NE(outer.cache(), nullptr);
      EXPECT_EQ(cache_distance, 0) << "a signal handler's fast path misses";
      const CacheAccess inner;
      EXPECT_TRUE(inner.reentered());
      EXPECT_EQ(inner.cache(), nullptr);
    }
    EXPECT_EQ(cache_distance, distance);
  });
}

TEST(Thread, WhatAThreadHoardedIsFreeWhenItIsGone) {
  in_own_heap([] {
    give(take(1));
    for (int round = 0; round < 3; ++round) {
      std::thread([] {
        std::vector<void *> blocks;
        for (size_t size = 8; size <= kMaxClassSize; size += 40) blocks.push_back(take(size));
        for (void *block : blocks) give(block);
      }).join();
    }
    release_free_memory();
    const page_heap::Stats pages = page_heap::stats();
    EXPECT_EQ(pages.free_pages, pages.grown_pages - 1) << "not one page is left behind";
    walk_pages();
  });
}

TEST(Thread, CachesAreReused) {
  in_own_heap([] {
    wr_mem_stats before, after;
    std::thread([] { give(take(100)); }).join();
    stats::read(before);
    for (int i = 0; i < 200; ++i) std::thread([] { give(take(100)); }).join();
    stats::read(after);
    EXPECT_EQ(after.metadata_sys, before.metadata_sys) << "a thread costs nothing when it is gone";
    EXPECT_EQ(after.frees, before.frees + 200);
  });
}

// --- destructors of thread-specific data, which may run before and after the cache is retired ---

pthread_key_t late_key;

void allocate_late(void *rounds) {
  void *block = take(100);
  EXPECT_NE(block, nullptr);
  memset(block, 1, 100);
  void *large = take(100000);
  EXPECT_NE(large, nullptr);
  give(block);
  give(large);
  const uintptr_t left = address_of(rounds) - 1;
  if (left != 0) pthread_setspecific(late_key, at_address<void>(left));
}

TEST(Thread, DestructorsMayAllocateToTheVeryEnd) {
  in_own_heap([] {
    ASSERT_EQ(pthread_key_create(&late_key, allocate_late), 0);
    give(take(1));
    const uint64_t before = live();
    wr_mem_stats counts_before, counts_after;
    stats::read(counts_before);
    for (int i = 0; i < 20; ++i) {
      std::thread([] {
        give(take(100));
        pthread_setspecific(late_key, at_address<void>(PTHREAD_DESTRUCTOR_ITERATIONS));
      }).join();
    }
    EXPECT_EQ(caches(), 1u) << "no cache was made anew after the thread's was retired";
    EXPECT_EQ(live(), before);
    stats::read(counts_after);
    EXPECT_EQ(counts_after.frees - counts_before.frees, 20u * (1 + 2 * PTHREAD_DESTRUCTOR_ITERATIONS))
        << "every free is counted";
    release_free_memory();
    walk_pages();
  });
}

TEST(Thread, BlocksOutliveTheirThread) {
  in_own_heap([] {
    std::vector<void *> blocks;
    std::thread([&blocks] {
      for (size_t i = 0; i < 3000; ++i) {
        blocks.push_back(take(i));
        memset(blocks.back(), static_cast<int>(i), i);
      }
    }).join();
    for (size_t i = 0; i < blocks.size(); ++i) {
      for (size_t byte = 0; byte < i; ++byte)
        ASSERT_EQ(static_cast<uint8_t *>(blocks[i])[byte], static_cast<uint8_t>(i));
      give(blocks[i]);
    }
  });
}

// Blocks go round in a ring of threads: each frees what its neighbour allocated.
TEST(Thread, BlocksAreFreedByOthers) {
  in_own_heap([] {
    constexpr size_t kThreads = 4, kSlots = 64;
    static std::atomic<uint64_t *> slots[kThreads][kSlots];
    static std::atomic<unsigned> wrong{0};
    std::vector<std::thread> threads;
    for (size_t id = 0; id < kThreads; ++id) {
      threads.emplace_back([id] {
        for (size_t round = 0; round < 60000; ++round) {
          const size_t size = 8 + (round * 31 + id * 977) % 2000;
          auto *block = static_cast<uint64_t *>(take(size));
          *block = size;
          uint64_t *other = slots[(id + round) % kThreads][round % kSlots].exchange(block);
          if (other == nullptr) continue;
          wrong += usable_size(other, "malloc_usable_size") != rounded_size(*other);
          give(other);
        }
      });
    }
    for (std::thread &thread : threads) thread.join();
    EXPECT_EQ(wrong, 0u);
    for (auto &row : slots) {
      for (auto &slot : row) give(slot.load());
    }
    EXPECT_EQ(live(), 0u);
    release_free_memory();
    walk_pages();
  });
}

}  // namespace
}  // namespace warren
