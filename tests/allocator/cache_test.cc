// A thread's bins: allocator/cache.h. Run as a test of its own.
// Invariant: the cache under test is this test's own, so that every block in it is known; bins are compared with what
// was pushed, the centrals' counts with what went in and out.
#include "allocator/cache.h"

#include "allocator/base/options.h"
#include "allocator/central.h"
#include "allocator/heap.h"
#include "allocator/object_map.h"
#include "allocator/page_heap.h"
#include "allocator/thread.h"
#include "tests/allocator/own_process.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace warren {
namespace {

constexpr unsigned kBin = 2;  // 16 bytes, 256 slots

uint64_t objects_out(unsigned bin) { return central_of(class_of_bin(bin)).stats().objects_out; }
unsigned slots_of(unsigned bin) { return info(class_of_bin(bin)).cache_slots; }
ptrdiff_t room(const Cache &cache, unsigned bin) { return cache.limit[bin] - cache.top[bin]; }

std::vector<void *> fetch(unsigned bin, size_t count) {
  std::vector<void *> out;
  while (out.size() < count) {
    void *one;
    if (central_of(class_of_bin(bin)).fetch(&one + 1, 1) != 1) break;
    out.push_back(one);
  }
  return out;
}

template <class Body>
void with_cache(Body body) {
  in_own_process([&] {
    ASSERT_TRUE(heap::set_up());
    const auto cache = std::make_unique<Cache>();
    cache->set_up();
    body(*cache);
    cache->flush();
    for (unsigned bin = 0; bin < kBinCount; ++bin) {
      EXPECT_EQ(cache->size(bin), 0u) << bin;
      if (bin_is_used(bin)) {
        EXPECT_EQ(objects_out(bin), 0u) << bin;
      }
    }
  });
}

TEST(Cache, BinsAreShutAtFirst) {
  with_cache([](Cache &cache) {
    for (unsigned bin = 0; bin < kBinCount; ++bin) {
      EXPECT_FALSE(cache.is_open(bin));
      EXPECT_EQ(cache.size(bin), 0u);
      EXPECT_EQ(cache.top[bin], cache.limit[bin]) << "a push misses";
      EXPECT_EQ(cache.top[bin][-1], at_address<void>(arena.start)) << "a pop finds the sentinel";
      EXPECT_EQ(cache.frees[bin], 0u);
    }
    EXPECT_NE(*object_map::fine(arena.start), 0) << "which is never free";
    EXPECT_NE(*object_map::coarse(arena.start), 0);
  });
}

TEST(Cache, TheFirstRefillIsSmall) {
  with_cache([](Cache &cache) {
    for (unsigned bin = 0; bin < kBinCount; ++bin) {
      if (!bin_is_used(bin)) continue;
      const unsigned first = std::min(8u, slots_of(bin) / 2);
      ASSERT_TRUE(cache.refill(bin));
      EXPECT_TRUE(cache.is_open(bin));
      EXPECT_EQ(cache.size(bin), std::min<size_t>(first, info(class_of_bin(bin)).objects)) << bin;
      EXPECT_GE(room(cache, bin), 0);
      EXPECT_EQ(objects_out(bin), cache.size(bin));
    }
  });
}

TEST(Cache, RefillsDoubleUpToHalfTheBin) {
  with_cache([](Cache &cache) {
    size_t expected = 8;
    for (int refill = 0; refill < 8; ++refill) {
      ASSERT_TRUE(cache.refill(kBin));
      EXPECT_EQ(cache.size(kBin), expected) << refill;
      cache.flush();
      expected = std::min<size_t>(2 * expected, slots_of(kBin) / 2);
    }
    EXPECT_EQ(expected, kMaxBatch);
  });
}

TEST(Cache, TheLowestAddressComesOutFirst) {
  with_cache([](Cache &cache) {
    ASSERT_TRUE(cache.refill(kBin));
    std::vector<void *> out;
    while (cache.size(kBin) != 0) out.push_back(cache.pop(kBin));
    EXPECT_TRUE(std::is_sorted(out.begin(), out.end()));
    EXPECT_EQ(cache.top[kBin][-1], at_address<void>(arena.start)) << "the sentinel lies below";
    for (void *block : out) cache.push(kBin, block);
  });
}

TEST(Cache, LastInFirstOut) {
  with_cache([](Cache &cache) {
    const std::vector<void *> blocks = fetch(kBin, 10);
    for (void *block : blocks) cache.push(kBin, block);
    for (size_t i = blocks.size(); i-- > 0;) EXPECT_EQ(cache.pop(kBin), blocks[i]);
    for (void *block : blocks) cache.push(kBin, block);
  });
}

// A bin that only takes frees opens by itself, doubles, and then gives its older half back.
TEST(Cache, TheLimitGrowsAsItIsNeeded) {
  with_cache([](Cache &cache) {
    const unsigned slots = slots_of(kBin);
    const std::vector<void *> blocks = fetch(kBin, 2 * slots);
    size_t limit = 0, pushed = 0;
    std::vector<size_t> limits;
    while (pushed < slots) {
      cache.push(kBin, blocks[pushed++]);
      const size_t now = cache.size(kBin) + static_cast<size_t>(room(cache, kBin));
      if (now != limit) limits.push_back(limit = now);
    }
    EXPECT_EQ(limits, (std::vector<size_t>{16, 32, 64, 128, 256}));
    EXPECT_EQ(cache.size(kBin), slots);
    cache.push(kBin, blocks[pushed++]);
    EXPECT_EQ(cache.size(kBin), slots / 2 + 1) << "the older half went back";
    EXPECT_EQ(objects_out(kBin), blocks.size() - slots / 2);
    for (size_t i = pushed; i-- > slots / 2;)
      EXPECT_EQ(cache.pop(kBin), blocks[i]) << "the younger half is there, in order";
    for (size_t i = slots / 2; i < blocks.size(); ++i) cache.push(kBin, blocks[i]);
  });
}

TEST(Cache, NoBinRunsIntoItsNeighbour) {
  with_cache([](Cache &cache) {
    std::vector<std::vector<void *>> pushed(kBinCount);
    for (unsigned bin = 0; bin < kBinCount; ++bin) {
      if (!bin_is_used(bin)) continue;
      pushed[bin] = fetch(bin, slots_of(bin));
      ASSERT_EQ(pushed[bin].size(), slots_of(bin));
      for (void *block : pushed[bin]) cache.push(bin, block);
      EXPECT_LE(cache.size(bin) + static_cast<size_t>(room(cache, bin)), slots_of(bin));
      EXPECT_GE(cache.size(bin), 1u);
      EXPECT_LE(cache.allowed_bytes(), size_t{2} << 20) << "it grows at the cost of others";
    }
    for (unsigned bin = 0; bin < kBinCount; ++bin) {
      if (!bin_is_used(bin)) continue;
      const size_t kept = cache.size(bin);
      ASSERT_EQ(*(cache.top[bin] - kept - 1), at_address<void>(arena.start)) << bin;
      for (size_t i = 1; i <= kept; ++i) ASSERT_EQ(cache.top[bin][-static_cast<ptrdiff_t>(i)], pushed[bin][pushed[bin].size() - i]) << bin;
    }
  });
}

// A bin that grows moves: what it holds comes along in order, and nothing is left where it was.
TEST(Cache, ABinThatMovesTakesAllAlong) {
  with_cache([](Cache &cache) {
    for (unsigned bin = 0; bin < kBinCount; ++bin) {
      if (!bin_is_used(bin)) continue;
      std::vector<void *> blocks;
      void *const *before = nullptr;
      size_t kept = 0;
      int moves = 0;
      for (void *block : fetch(bin, slots_of(bin))) {
        cache.push(bin, block);
        blocks.push_back(block);
        void *const *bottom = cache.top[bin] - cache.size(bin);
        if (cache.size(bin) != blocks.size()) break;  // some went back: the share is used up
        ASSERT_EQ(bottom[-1], at_address<void>(arena.start)) << bin;
        ASSERT_TRUE(std::equal(blocks.begin(), blocks.end(), bottom)) << bin;
        if (before != nullptr && before != bottom) {
          ++moves;
          for (size_t i = 0; i < kept; ++i) ASSERT_EQ(before[i], at_address<void>(arena.start)) << bin;
        }
        before = bottom;
        kept = blocks.size();
      }
      EXPECT_LE(moves, 2) << bin;
    }
  });
}

// Four pages of slots, and one of what is said of them.
TEST(Cache, SmallBinsLieTogether) {
  with_cache([](Cache &cache) {
    const void *lowest = nullptr, *highest = nullptr;
    for (unsigned bin = 0; bin < kBinCount; ++bin) {
      if (!bin_is_used(bin)) continue;
      for (void *block : fetch(bin, 8)) cache.push(bin, block);
      const void *top = cache.top[bin], *bottom = cache.top[bin] - cache.size(bin);
      if (lowest == nullptr || bottom < lowest) lowest = bottom;
      if (top > highest) highest = top;
    }
    EXPECT_LE(address_of(highest) - address_of(lowest), size_t{16} << 10);
  });
}

// After a fork in the middle of a move.
TEST(Cache, ATopThatIsNotTheBinsIsNoSize) {
  with_cache([](Cache &cache) {
    for (void *block : fetch(kBin, 10)) cache.push(kBin, block);
    void **const top = cache.top[kBin];
    for (const ptrdiff_t away : {-10000, -11, 300, 10000}) {
      cache.top[kBin] = top + away;
      EXPECT_EQ(cache.size(kBin), 0u) << away;
    }
    cache.top[kBin] = top;
    EXPECT_EQ(cache.size(kBin), 10u);
  });
}

// An interrupted push has raised the top above the limit (see below): the next ones go on from there.
TEST(Cache, ATopAboveTheLimitComesDown) {
  with_cache([](Cache &cache) {
    for (const unsigned bin : {kBin, 20u, 45u, 67u}) {
      const unsigned slots = slots_of(bin);
      const std::vector<void *> blocks = fetch(bin, 4 * slots);
      size_t next = 0;
      while (next < 3 * slots) {
        cache.push(bin, blocks[next++]);
        if (cache.top[bin] == cache.limit[bin]) *cache.top[bin]++ = blocks[next++];
        ASSERT_EQ(cache.top[bin][-1], blocks[next - 1]);
        ASSERT_LE(cache.top[bin], cache.limit[bin] + 1);
        ASSERT_EQ(*(cache.top[bin] - cache.size(bin) - 1), at_address<void>(arena.start));
      }
      EXPECT_LE(cache.size(bin), slots + 1u);
      for (; next < blocks.size(); ++next) cache.push(bin, blocks[next]);
      EXPECT_LE(cache.top[bin], cache.limit[bin]);
    }
  });
}

// With a cache each.
template <class Body>
void among_threads(int count, Body body) {
  std::atomic<int> alive{0};
  std::atomic<bool> done{false};
  std::vector<std::thread> others;
  for (int i = 0; i < count; ++i) {
    others.emplace_back([&] {
      CacheAccess access;
      ++alive;
      done.wait(false);
    });
  }
  while (alive != count) std::this_thread::yield();
  body();
  done = true;
  done.notify_all();
  for (std::thread &other : others) other.join();
}

// They leave this one the least share.
template <class Body>
void among_many_threads(Body body) {
  among_threads(300, body);
}

// The bins together would like to hold 2 MiB, and all caches 8. (Large blocks would blur it: of each, some stay.)
TEST(Cache, OfASmallHeapLittleIsCached) {
  with_cache([](Cache &cache) { among_threads(4, [&cache] {
    for (int round = 0; round < 20; ++round) {
      for (unsigned bin = 0; bin < kBinCount; ++bin) {
        if (!bin_is_used(bin) || info(class_of_bin(bin)).object_size > 4096) continue;
        while (cache.size(bin) != 0) central_of(class_of_bin(bin)).give_back(std::array<void *, 1>{cache.pop(bin)}.data(), 1);
        ASSERT_TRUE(cache.refill(bin));
      }
    }
    ASSERT_LE(page_heap::used_bytes(), size_t{4} << 20);
    EXPECT_LE(cache.allowed_bytes(), size_t{768} << 10) << "a quarter of two mebibytes, and what a bin is not robbed of";
    EXPECT_GE(cache.allowed_bytes(), size_t{384} << 10) << "and most of that";
  }); });
}

TEST(Cache, AmongManyThreadsOneHoldsLittle) {
  with_cache([](Cache &cache) { among_many_threads([&cache] {
    for (int round = 0; round < 3; ++round) {
      for (unsigned bin = 0; bin < kBinCount; ++bin) {
        if (!bin_is_used(bin)) continue;
        for (void *block : fetch(bin, 2u * slots_of(bin))) cache.push(bin, block);
        for (unsigned i = 0; i < 3; ++i) {
          while (cache.size(bin) != 0) central_of(class_of_bin(bin)).give_back(std::array<void *, 1>{cache.pop(bin)}.data(), 1);
          ASSERT_TRUE(cache.refill(bin));
        }
      }
    }
    // What a bin is not robbed of, and one batch, are beside the share.
    EXPECT_LE(cache.allowed_bytes(), size_t{1152} << 10);
    for (unsigned bin = 0; bin < kBinCount; ++bin) {
      if (bin_is_used(bin)) {
        EXPECT_LE(cache.size(bin), slots_of(bin)) << bin;
      }
    }
  }); });
}

// Bins that want more than the share, all of them used in turn: the few large blocks do not take the small ones' room.
TEST(Cache, SmallBlocksKeepRoomAmongLargeOnes) {
  with_cache([](Cache &cache) { among_many_threads([&cache] {
    for (int round = 0; round < 50; ++round) {
      for (unsigned bin = 0; bin < kBinCount; ++bin) {
        if (!bin_is_used(bin)) continue;
        std::vector<void *> blocks;
        for (unsigned i = 0; i < 4; ++i) {
          if (cache.size(bin) == 0) {
            ASSERT_TRUE(cache.refill(bin));
          }
          blocks.push_back(cache.pop(bin));
        }
        for (void *block : blocks) cache.push(bin, block);
      }
    }
    EXPECT_GE(cache.size(kBin) + static_cast<size_t>(room(cache, kBin)), 16u);
  }); });
}

// What a signal handler does that has interrupted a push or a pop of `bin`, and frees what it has allocated. Other bins
// miss in it, and take room from this one.
void handle_signal(Cache &cache, unsigned bin) {
  for (unsigned other = 0; other < kBinCount; ++other) {
    if (!bin_is_used(other)) continue;
    for (unsigned i = 0; i < (other == bin ? 1 : 6); ++i) {
      std::vector<void *> blocks;
      for (unsigned j = 0; j < (other == bin ? 1 : slots_of(other)); ++j) {
        if (cache.size(other) == 0) {
          ASSERT_TRUE(cache.refill(other));
        }
        blocks.push_back(cache.pop(other));
      }
      while (!blocks.empty()) {
        cache.push(other, blocks.back());
        blocks.pop_back();
      }
    }
  }
}

std::vector<void *> blocks_in(const Cache &cache, unsigned bin) {
  std::vector<void *> blocks(cache.top[bin] - cache.size(bin), cache.top[bin]);
  std::erase(blocks, at_address<void>(arena.start));
  return blocks;
}

// Where a fast path was interrupted: a push that knows the top, or that there is room as well, a pop that knows the top, or the block too.
enum class Step { kPushKnowsTop, kPushKnowsRoom, kPopKnowsTop, kPopKnowsBlock };

// Interrupted in a fast path, between its first read and its last write: no block gets two holders, and no bin runs into the next.
void interrupt(Cache &cache, unsigned bin, size_t filled, Step step) {
  const bool pushes = step == Step::kPushKnowsTop || step == Step::kPushKnowsRoom;
  SCOPED_TRACE(testing::Message() << "bin " << bin << " with " << filled << ", step " << static_cast<int>(step));
  for (void *block : fetch(bin, filled)) cache.push(bin, block);
  void **const top = cache.top[bin];
  if (step == Step::kPushKnowsRoom && top >= cache.limit[bin]) return cache.flush();  // they miss
  if (!pushes && cache.size(bin) == 0) return cache.flush();
  void *block = pushes ? fetch(bin, 1)[0] : top[-1];
  handle_signal(cache, bin);
  if (step == Step::kPushKnowsTop && top >= cache.limit[bin]) {
    central_of(class_of_bin(bin)).give_back(&block, 1);
    return cache.flush();
  }
  if (step == Step::kPopKnowsTop) {
    block = top[-1];
    if (block == at_address<void>(arena.start)) return cache.flush();  // it misses
    ASSERT_EQ(block, cache.top[bin][-1]);
  }
  std::vector<void *> there = blocks_in(cache, bin);
  there.push_back(block);
  if (pushes) *top = block;
  cache.top[bin] += pushes ? 1 : -1;
  ASSERT_LE(cache.top[bin], cache.limit[bin] + 1) << "and the next push misses";
  for (unsigned other = 0; other < kBinCount; ++other) {
    if (!cache.is_open(other)) continue;
    ASSERT_EQ(*(cache.top[other] - cache.size(other) - 1), at_address<void>(arena.start)) << other;
  }
  std::vector<void *> after = blocks_in(cache, bin);
  if (!pushes) {
    EXPECT_EQ(std::ranges::count(after, block), 0);
    after.push_back(block);
  }
  std::ranges::sort(after);
  EXPECT_EQ(std::ranges::unique(after).size(), 0u);
  std::ranges::sort(there);
  there.erase(std::ranges::unique(there).begin(), there.end());
  EXPECT_TRUE(std::ranges::includes(there, after)) << "what it gave back, it has no longer";
  cache.flush();
  std::vector<void *> lost;
  std::ranges::set_difference(there, after, std::back_inserter(lost));
  EXPECT_LE(lost.size(), 1u);
  if (!pushes) lost.push_back(block);
  for (void *one : lost) central_of(class_of_bin(bin)).give_back(&one, 1);
}

TEST(Cache, AHandlerMayTakeRoomBeneathAnInterruptedPushOrPop) {
  with_cache([](Cache &cache) { among_many_threads([&cache] {
    for (unsigned bin = 0; bin < kBinCount; ++bin) {
      if (!bin_is_used(bin)) continue;
      const unsigned slots = slots_of(bin);
      for (const unsigned filled : {0u, 1u, 2u, 3u, slots / 4, slots / 2, slots - 1, slots}) {
        if (filled > slots) continue;
        for (const Step step : {Step::kPushKnowsTop, Step::kPushKnowsRoom, Step::kPopKnowsTop, Step::kPopKnowsBlock}) {
          ASSERT_NO_FATAL_FAILURE(interrupt(cache, bin, filled, step));
          for (unsigned other = 0; other < kBinCount; ++other) {
            if (bin_is_used(other)) {
              ASSERT_EQ(objects_out(other), 0u) << other;
            }
          }
        }
      }
    }
  }); });
}

TEST(Cache, UnusedBinsStayShut) {
  with_cache([](Cache &cache) {
    for (unsigned bin = 0; bin < kBinCount; ++bin) {
      if (bin_is_used(bin)) {
        ASSERT_TRUE(cache.refill(bin));
      }
    }
    for (unsigned bin = 0; bin < kBinCount; ++bin) {
      EXPECT_EQ(cache.is_open(bin), bin_is_used(bin)) << bin;
      if (!bin_is_used(bin)) {
        EXPECT_EQ(cache.top[bin], cache.limit[bin]) << bin;
      }
    }
  });
}

TEST(Cache, FlushGivesEverythingBack) {
  with_cache([](Cache &cache) {
    for (unsigned bin = 0; bin < kBinCount; ++bin) {
      if (!bin_is_used(bin)) continue;
      for (void *block : fetch(bin, slots_of(bin))) cache.push(bin, block);
    }
    cache.flush();
    for (unsigned bin = 0; bin < kBinCount; ++bin) {
      EXPECT_EQ(cache.size(bin), 0u);
      if (!bin_is_used(bin)) continue;
      EXPECT_EQ(objects_out(bin), 0u) << bin;
      EXPECT_EQ(cache.top[bin][-1], at_address<void>(arena.start));
    }
    cache.flush();  // of nothing
  });
}

// The memory of a cache whose thread did not come along in a fork may be a mixture of two moments.
TEST(Cache, AnAdoptedCacheIsNotTrusted) {
  with_cache([](Cache &cache) {
    for (const unsigned bin : {kBin, unsigned{kTinyClass}, 40u}) {
      SCOPED_TRACE(bin);
      const std::vector<void *> blocks = fetch(bin, 6);
      uint8_t *mark = object_map::of_class(class_of_bin(bin), address_of(blocks[5]));
      *mark = class_of_bin(bin).value;                         // it was just being popped, and is in use
      central_of(class_of_bin(bin)).give_back(&blocks[4], 1);  // it was just being flushed
      for (void *block : blocks) cache.push(bin, block);
      cache.push(bin, blocks[0]);  // it was just being moved
      cache.adopt();
      EXPECT_EQ(cache.size(bin), 0u);
      EXPECT_EQ(objects_out(bin), 1u) << "all but the marked one are free, and once";
      *mark = 0;
      cache.push(bin, blocks[5]);
    }
  });
}

TEST(Cache, ARefillWithoutMemoryFails) {
  in_own_process([] {
    options.arena.store(kMinArenaSize);
    ASSERT_TRUE(heap::set_up());
    while (page_heap::allocate(PageCount{1}, SpanState::kLarge, SizeClass{0}) != nullptr) {
    }
    const auto cache = std::make_unique<Cache>();
    cache->set_up();
    EXPECT_FALSE(cache->refill(kBin));
    EXPECT_EQ(cache->size(kBin), 0u);
    EXPECT_EQ(cache->top[kBin][-1], at_address<void>(arena.start));
  });
}

}  // namespace
}  // namespace warren
