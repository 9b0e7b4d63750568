// A thread's free large blocks: allocator/large_cache.h. Run as a test of its own.
// Invariant: the cache under test is this test's own or its thread's; spans are compared with what was put in, the page heap's count of
// large pages with what went back.
#include "allocator/large_cache.h"

#include "allocator/base/options.h"
#include "allocator/block.h"
#include "allocator/cache.h"
#include "allocator/large.h"
#include "allocator/page_heap.h"
#include "allocator/stats.h"
#include "allocator/thread.h"
#include "tests/allocator/own_heap.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <ctime>
#include <deque>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace warren {
namespace {

constexpr uint32_t kPages = 8;  // 64 KiB
constexpr uint64_t kLeastRoom = uint64_t{256} << 10;  // of a small heap's only thread

Span *span(uint32_t pages = kPages) { return page_heap::allocate(PageCount{pages}, SpanState::kLarge, SizeClass{0}); }
uint64_t large_pages() { return page_heap::stats().large_pages; }

// As heap_slow.cc does: from the cache, or else from the page heap.
Span *take(LargeCache &cache, uint32_t pages = kPages) {
  Span *kept = cache.take(PageCount{pages});
  return kept != nullptr ? kept : span(pages);
}

// So many at once, again and again: each time one of those that had to go makes room.
void make_room(LargeCache &cache, uint32_t pages, size_t blocks) {
  std::vector<Span *> held(blocks);
  for (size_t turn = 0; turn <= blocks; ++turn) {
    for (Span *&one : held) one = take(cache, pages);
    for (Span *one : held) cache.put(one);
  }
}

template <class Body>
void with_cache(Body body) {
  in_own_heap([&] {
    const auto cache = std::make_unique<LargeCache>();
    body(*cache);
    cache->flush();
    EXPECT_EQ(cache->figures().held_bytes, 0u);
    EXPECT_EQ(large_pages(), 0u);
  });
}

TEST(LargeCache, WhatIsNotAskedForAgainIsNotKept) {
  with_cache([](LargeCache &cache) {
    for (int i = 0; i < 10; ++i) {
      cache.put(span(kPages + static_cast<uint32_t>(i)));
      EXPECT_EQ(large_pages(), 0u);
    }
    EXPECT_EQ(cache.figures().frees, 10u);
    EXPECT_EQ(cache.figures().mallocs, 0u);
    EXPECT_EQ(cache.take(PageCount{kPages - 1}), nullptr) << "no such had to go";
    cache.put(span(kPages - 1));
    EXPECT_EQ(large_pages(), 0u);
  });
}

TEST(LargeCache, WhatIsAskedForAgainIsKept) {
  with_cache([](LargeCache &cache) {
    cache.put(span());
    EXPECT_EQ(cache.take(PageCount{kPages}), nullptr);
    Span *block = span();
    cache.put(block);
    EXPECT_EQ(large_pages(), kPages) << "the page heap has not got it";
    EXPECT_EQ(cache.figures().held_bytes, block->bytes());
    EXPECT_EQ(cache.take(PageCount{kPages - 1}), nullptr) << "just that length";
    EXPECT_EQ(cache.take(PageCount{kPages + 1}), nullptr);
    EXPECT_EQ(cache.take(PageCount{kPages}), block);
    EXPECT_EQ(cache.figures().held_bytes, 0u);
    EXPECT_EQ(cache.figures().mallocs, 1u);
    EXPECT_EQ(cache.figures().total_bytes, block->bytes());
    EXPECT_EQ(cache.take(PageCount{kPages}), nullptr);
    cache.put(block);
  });
}

TEST(LargeCache, OneThatHadToGoMakesRoomForOne) {
  with_cache([](LargeCache &cache) {
    cache.put(span());
    for (int i = 0; i < 3; ++i) EXPECT_EQ(cache.take(PageCount{kPages}), nullptr);
    for (Span *block : {span(), span()}) cache.put(block);
    EXPECT_EQ(large_pages(), kPages);
    cache.flush();
    EXPECT_EQ(large_pages(), 0u);
    cache.put(span());
    EXPECT_EQ(large_pages(), 0u) << "what has been returned is to stay there";
    EXPECT_EQ(cache.take(PageCount{kPages + 64}), nullptr);
    cache.put(span());
    EXPECT_EQ(large_pages(), 0u) << "another length was asked for";
  });
}

TEST(LargeCache, TheLastFreedComesFirst) {
  with_cache([](LargeCache &cache) {
    make_room(cache, kPages, 3);
    Span *blocks[] = {take(cache), take(cache), take(cache)};
    for (Span *block : blocks) cache.put(block);
    for (int i = 2; i >= 0; --i) EXPECT_EQ(cache.take(PageCount{kPages}), blocks[i]);
    for (Span *block : blocks) cache.put(block);
  });
}

TEST(LargeCache, TheOldestGoesForTheNewest) {
  with_cache([](LargeCache &cache) {
    make_room(cache, kPages, 4);  // all the room there is
    std::vector<Span *> blocks;
    for (int i = 0; i < 6; ++i) blocks.push_back(take(cache));
    for (Span *block : blocks) cache.put(block);
    EXPECT_EQ(cache.figures().held_bytes, kLeastRoom);
    EXPECT_EQ(large_pages(), 4 * kPages);
    for (size_t i = 6; i > 2; --i) EXPECT_EQ(cache.take(PageCount{kPages}), blocks[i - 1]);
    EXPECT_EQ(cache.take(PageCount{kPages}), nullptr);
    for (size_t i = 2; i < 6; ++i) cache.put(blocks[i]);
  });
}

// With more in use there is room for twice as much.
TEST(LargeCache, ThereAreLimitsInALargeHeapToo) {
  with_cache([](LargeCache &cache) {
    Span *use = span(2048);
    const uint64_t used = large_pages();
    constexpr uint32_t kTooLong = LargeCache::kMostPages.value + 1;
    make_room(cache, kTooLong - 1, 3);
    EXPECT_EQ(large_pages() - used, 2 * (kTooLong - 1));
    make_room(cache, kTooLong, 2);
    EXPECT_EQ(cache.take(PageCount{kTooLong}), nullptr);
    EXPECT_EQ(large_pages() - used, 2 * (kTooLong - 1));
    EXPECT_EQ(cache.take(PageCount{kTooLong - 1 + 64}), nullptr) << "a bit of another length";
    make_room(cache, 5, LargeCache::kSpans + 3);
    EXPECT_EQ(large_pages() - used, 5 * LargeCache::kSpans);
    cache.flush();
    page_heap::free(use);
  });
}

// Against a model: the list of what is in it, from which the oldest go until the bytes are as many as the cache says.
TEST(LargeCache, RandomLengths) {
  const auto seed = static_cast<unsigned>(time(nullptr));
  printf("seed %u\n", seed);
  with_cache([seed](LargeCache &cache) {
    std::mt19937 random(seed);
    std::vector<Span *> live;
    std::deque<std::pair<Span *, uint32_t>> kept;  // and pages
    uint64_t mallocs = 0, live_pages = 0, kept_pages = 0;
    for (int step = 0; step < 20000; ++step) {
      if (live.size() < 12 && random() % 2 == 0) {
        const auto pages = static_cast<uint32_t>(5 + random() % 6);
        const auto newest = std::find_if(kept.rbegin(), kept.rend(), [=](const auto &one) { return one.second == pages; });
        Span *found = cache.take(PageCount{pages});
        ASSERT_EQ(found, newest == kept.rend() ? nullptr : newest->first);
        if (found != nullptr) {
          kept.erase(std::next(newest).base());
          kept_pages -= pages;
          ++mallocs;
        }
        live.push_back(found != nullptr ? found : span(pages));
        live_pages += pages;
      } else if (!live.empty()) {
        std::swap(live[random() % live.size()], live.back());
        Span *block = live.back();
        const uint32_t pages = block->count.value;
        live.pop_back();
        live_pages -= pages;
        cache.put(block);
        const uint64_t now = cache.figures().held_bytes / kPageSize;
        const bool is_kept = now != kept_pages || kept_pages >= pages;
        if (is_kept) {
          kept.emplace_back(block, pages);
          kept_pages += pages;
        }
        while (kept_pages > now) {
          kept_pages -= kept.front().second;
          kept.pop_front();
        }
      }
      ASSERT_EQ(cache.figures().held_bytes, kept_pages * kPageSize) << step;
      ASSERT_EQ(large_pages(), live_pages + kept_pages) << step;
      ASSERT_LE(kept_pages * kPageSize, kLeastRoom);
      ASSERT_LE(kept.size(), LargeCache::kSpans);
      ASSERT_EQ(cache.figures().mallocs, mallocs);
    }
    EXPECT_GT(mallocs, 1000u);
    for (Span *block : live) cache.put(block);
  });
}

// The memory of a thread that did not come along in a fork may be a mixture of two moments.
TEST(LargeCache, AnAdoptedCacheIsNotTrusted) {
  in_own_heap([] {
    const auto cache = std::make_unique<LargeCache>(), other = std::make_unique<LargeCache>();
    make_room(*cache, kPages, 4);
    Span *blocks[4];
    for (Span *&block : blocks) block = take(*cache);
    for (Span *block : blocks) cache->put(block);
    memcpy(static_cast<void *>(other.get()), cache.get(), sizeof *other);  // it was just being taken by another
    uint8_t *mark = object_map::coarse(blocks[1]->start());
    *mark = object_map::kLargeMark;  // it was just being taken, and is in use
    page_heap::free(blocks[2]);      // it was just being given back
    cache->adopt();
    other->adopt();
    EXPECT_EQ(large_pages(), kPages) << "all but the marked one are free, and once";
    EXPECT_EQ(cache->figures().held_bytes, 0u);
    EXPECT_EQ(cache->take(PageCount{kPages}), nullptr);
    walk_pages();
    *mark = 0;
    page_heap::free(blocks[1]);
  });
}

// From here on through malloc and free.

void *allocate_block(size_t size) { return allocate<allocate_slow>(size); }
void free_slow(void *block) { release_slow(block, "free"); }
void free_block(void *block) { release<free_slow>(block); }

constexpr size_t kSize = kPages * kPageSize;

void warm_up(size_t size = kSize) {
  for (int i = 0; i < 3; ++i) free_block(allocate_block(size));
}

wr_mem_stats read_stats() {
  wr_mem_stats out;
  stats::read(out);
  return out;
}

TEST(LargeCache, OfAThread) {
  in_own_heap([] {
    warm_up();
    void *block = allocate_block(kSize);
    EXPECT_EQ(find_block(address_of(block)).kind, Block::Kind::kLarge);
    memset(block, 1, kSize);
    const wr_mem_stats before = read_stats();
    free_block(block);
    EXPECT_EQ(find_block(address_of(block)).kind, Block::Kind::kNone);
    const wr_mem_stats kept = read_stats();
    EXPECT_EQ(kept.heap_inuse, before.heap_inuse);
    EXPECT_EQ(kept.cache_inuse, before.cache_inuse + kSize);
    EXPECT_EQ(kept.alloc_bytes, before.alloc_bytes - kSize);
    EXPECT_EQ(kept.frees, before.frees + 1);
    EXPECT_EQ(kept.heap_objects, before.heap_objects - 1);
    EXPECT_EQ(allocate_block(kSize), block);
    const wr_mem_stats after = read_stats();
    EXPECT_EQ(after.mallocs, before.mallocs + 1);
    EXPECT_EQ(after.total_alloc_bytes, before.total_alloc_bytes + kSize);
    EXPECT_EQ(after.alloc_bytes, before.alloc_bytes);
    EXPECT_EQ(usable_size(block, "malloc_usable_size"), kSize);
    free_block(block);
    const auto *zeroed = static_cast<const char *>(allocate_zeroed(kSize));
    EXPECT_EQ(zeroed, block);
    for (size_t i = 0; i < kSize; ++i) ASSERT_EQ(zeroed[i], 0) << i;
    free_block(block);
    release_free_memory();
    EXPECT_EQ(large_pages(), 0u);
    EXPECT_EQ(read_stats().cache_inuse, 0u);
  });
}

TEST(LargeCache, WhatItCountedStaysWhenTheThreadGoes) {
  in_own_heap([] {
    const wr_mem_stats before = read_stats();
    std::thread([] {
      for (int i = 0; i < 100; ++i) free_block(allocate_block(kSize));
    }).join();
    const wr_mem_stats after = read_stats();
    EXPECT_EQ(after.by_size[0].mallocs - before.by_size[0].mallocs, 100u);
    EXPECT_EQ(after.by_size[0].frees - before.by_size[0].frees, 100u);
    EXPECT_EQ(large_pages(), 0u) << "it has kept nothing";
  });
}

TEST(LargeCache, OfAThreadThatDidNotComeAlong) {
  in_own_heap([] {
    std::atomic<bool> ready{false}, stop{false};
    std::thread other([&] {
      warm_up();
      ready = true;
      ready.notify_one();
      stop.wait(false);
    });
    ready.wait(false);
    EXPECT_EQ(large_pages(), kPages);
    const pid_t child = fork();
    if (child == 0) {
      threads::adopt_caches_in_child();
      _exit(large_pages() == 0 ? 0 : 1);
    }
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    stop = true;
    stop.notify_one();
    other.join();
  });
}

TEST(LargeCache, AnyThreadsFiguresAddUp) {
  in_own_heap([] {
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    std::atomic<void *> handed{nullptr};
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        while (!stop) {
          void *own = allocate_block(kSize);
          if (void *others = handed.exchange(own)) free_block(others);
        }
      });
    }
    threads.emplace_back([&] {
      while (!stop) std::thread([] { warm_up(); }).join();
    });
    for (int i = 0; i < 100'000; ++i) {
      const large::Stats now = large::stats();
      ASSERT_GE(now.mallocs, now.frees);
    }
    stop = true;
    for (std::thread &thread : threads) thread.join();
    free_block(handed);
    const large::Stats now = large::stats();
    EXPECT_EQ(now.mallocs, now.frees);
  });
}

// With a block of 5 pages that lives, and one of kPages at hand, nothing else is free.
template <class Body>
void at_a_limit(Body body) {
  in_own_process([&] {
    options.arena.store(kMinArenaSize);
    ASSERT_TRUE(heap::set_up());
    void *block = allocate_block(5 * kPageSize);
    warm_up();
    EXPECT_EQ(large_pages(), 5 + kPages);
    while (page_heap::allocate(PageCount{1}, SpanState::kLarge, SizeClass{0}) != nullptr) {
    }
    body(block);
  });
}

TEST(LargeCache, AtALimitWhatIsKeptServesAll) {
  at_a_limit([](void *) { EXPECT_NE(allocate_block(8000), nullptr); });
  at_a_limit([](void *) { EXPECT_NE(allocate_block(6 * kPageSize), nullptr); });
  at_a_limit([](void *) { EXPECT_NE(allocate_aligned(2 * kPageSize, 4 * kPageSize), nullptr); });
  at_a_limit([](void *block) {
    memset(block, 1, 5 * kPageSize);
    const auto *moved = static_cast<const char *>(reallocate(block, 7 * kPageSize, "realloc"));
    ASSERT_NE(moved, nullptr);
    for (size_t i = 0; i < 5 * kPageSize; ++i) ASSERT_EQ(moved[i], 1);
  });
}

}  // namespace
}  // namespace warren
