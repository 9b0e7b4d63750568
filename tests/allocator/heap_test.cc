// The heap as preload/ uses it: allocator/heap.h with heap_slow.cc. Run as a test of its own.
// Invariant: blocks are written from end to end while they live, and the statistics come out even at the end.
#include "allocator/heap.h"

#include "allocator/base/fatal.h"
#include "allocator/base/options.h"
#include "allocator/block.h"
#include "allocator/central.h"
#include "allocator/emergency.h"
#include "allocator/stats.h"
#include "allocator/thread.h"
#include "tests/allocator/base/captured_fd.h"
#include "tests/allocator/own_process.h"
#include "tests/allocator/page_walk.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace warren {
namespace {

void *take(size_t size) { return allocate<allocate_slow>(size); }
void free_slow(void *block) { release_slow(block, "free"); }
void give(void *block) { release<free_slow>(block); }

unsigned misses = 0;
void note_miss(void *) { ++misses; }
void *note_no_block(size_t) {
  ++misses;
  return nullptr;
}

bool all_are(const void *block, size_t size, uint8_t value) {
  for (size_t i = 0; i < size; ++i) {
    if (static_cast<const uint8_t *>(block)[i] != value) return false;
  }
  return true;
}

template <class Body>
void in_own_heap(Body body) {
  in_own_process([&] {
    body();
    if (heap::is_set_up()) walk_pages();
  });
}

TEST(Heap, TheFirstCallSetsItUp) {
  in_own_heap([] {
    EXPECT_FALSE(heap::is_set_up());
    EXPECT_EQ(release_free_memory(), 0u) << "nothing to do yet";
    errno = 1789;
    void *block = take(100);
    EXPECT_EQ(errno, 1789);
    EXPECT_NE(block, nullptr);
    EXPECT_TRUE(heap::is_set_up());
    give(block);
  });
  in_own_heap([] { EXPECT_NE(allocate_zeroed(100000), nullptr); });
  in_own_heap([] { EXPECT_NE(allocate_aligned(4096, 1), nullptr); });
}

TEST(Heap, EverySizeOnce) {
  in_own_heap([] {
    for (size_t size = 0; size <= kMaxClassSize + 2 * kPageSize; ++size) {
      void *block = take(size);
      ASSERT_NE(block, nullptr);
      ASSERT_EQ(address_of(block) % (size <= kTinySize ? 8 : 16), 0u) << size;
      const size_t usable = usable_size(block, "malloc_usable_size");
      ASSERT_EQ(usable, rounded_size(size));
      ASSERT_GE(usable, size);
      memset(block, 0xee, usable);
      if (size % 3 != 0) give(block);
    }
  });
}

// Tiny requests get 16 bytes at first; where blocks of that size are more than a mebibyte and an eighth of the heap, 8.
TEST(Heap, TinyBlocksArePackedWhereTheyAreMany) {
  in_own_heap([] {
    std::vector<void *> blocks;
    const auto usable = [](void *block) { return usable_size(block, "malloc_usable_size"); };
    while (blocks.empty() || usable(blocks.back()) == 16) {
      blocks.push_back(take(blocks.size() % 9));
      ASSERT_LE(blocks.size(), 80'000u);
    }
    EXPECT_GE(blocks.size(), 65'536u);
    for (int i = 0; i < 1000; ++i) {
      blocks.push_back(take(static_cast<size_t>(i) % 9));
      EXPECT_EQ(usable(blocks.back()), 8u);
      EXPECT_EQ(rounded_size(static_cast<size_t>(i) % 9), 8u);
    }
    std::thread([] {
      void *block = take(8);  // of a thread that begins, and finds out by the first
      EXPECT_EQ(usable_size(block, "malloc_usable_size"), 16u);
      EXPECT_EQ(rounded_size(8), 8u);
      give(block);
    }).join();
    blocks.push_back(take(12));
    EXPECT_EQ(usable(blocks.back()), 16u);
    for (void *block : blocks) give(block);
  });
}

// A hint that is wrong costs a look at the mark, and nothing else: that of pages that had another class before, or lost theirs.
TEST(Heap, WrongHintsOfClassesAreHarmless) {
  in_own_heap([] {
    std::vector<void *> blocks;
    for (int i = 0; i < 1000; ++i) blocks.push_back(take(48));
    for (void *block : blocks) {
      uint8_t &hint = arena.class_hints[arena.page_of(address_of(block)).value];
      const uint8_t right = hint;
      for (const int wrong : {0, 1, right - 1, right + 1, 67, 255}) {
        hint = static_cast<uint8_t>(wrong);
        misses = 0;
        release<note_miss>(block);
        EXPECT_EQ(misses, 1u);
      }
      give(block);
      EXPECT_EQ(take(48), block);
      hint = right;
      release<note_miss>(block);
      EXPECT_EQ(misses, 1u);
      release<note_miss>(block);
      EXPECT_EQ(misses, 2u) << "it is free";
      EXPECT_EQ(take(48), block);
      for (const size_t inside : {1, 8, 16, 47}) release<note_miss>(at_address<void>(address_of(block) + inside));
      EXPECT_EQ(misses, 6u);
    }
    for (void *block : blocks) give(block);
  });
}

// In a heap that is mostly other things they stay as they are.
TEST(Heap, TinyBlocksAreNotPackedWhereTheyAreFew) {
  in_own_heap([] {
    std::vector<void *> blocks;
    for (int i = 0; i < 20; ++i) blocks.push_back(take(size_t{1} << 20));
    for (int i = 0; i < 100'000; ++i) blocks.push_back(take(8));
    EXPECT_EQ(usable_size(blocks.back(), "malloc_usable_size"), 16u);
    for (void *block : blocks) give(block);
  });
}

TEST(Heap, TinyBlocksNeedNoSlowPathOnceThereAreSome) {
  in_own_heap([] {
    unsigned odd = 0;
    std::vector<void *> blocks, others;
    for (int i = 0; i < 80'000; ++i) others.push_back(take(16));  // from now on they are packed
    for (int i = 0; i < 200; ++i) blocks.push_back(take(8));
    for (void *block : blocks) {
      odd += address_of(block) % kMinAlign != 0;
      release<note_miss>(block);
      EXPECT_EQ(misses, 0u);
      release<note_miss>(block);
      EXPECT_EQ(misses, 1u) << "it is free";
      EXPECT_EQ(allocate<note_no_block>(odd % 9), block);
      for (const size_t inside : {1, 4, 7}) release<note_miss>(at_address<void>(address_of(block) + inside));
      EXPECT_EQ(misses, 4u);
      misses = 0;
    }
    EXPECT_EQ(odd, 100u);
    for (const size_t size : {size_t{9}, size_t{1024}, kMaxClassSize + 1, SIZE_MAX}) EXPECT_EQ(allocate_tiny_or_medium(size), nullptr);
    for (void *block : blocks) give(block);
    for (void *block : others) give(block);
  });
}

TEST(Heap, AlignedBlocksNeedNoSlowPathOnceThereAreSome) {
  in_own_heap([] {
    EXPECT_EQ(allocate_aligned_at_hand(64, 64), nullptr) << "there is no heap yet";
    for (size_t align = 8; align <= kPageSize; align *= 2) {
      for (size_t size = 9; size <= kMaxClassSize; size += size / 3) {
        void *block = allocate_aligned(align, size), *other = allocate_aligned(align, size);
        give(block);
        ASSERT_EQ(allocate_aligned_at_hand(align, size), block) << align << " " << size;
        EXPECT_EQ(address_of(block) % align, 0u);
        EXPECT_GE(usable_size(block, "malloc_usable_size"), size);
        give(block);
        give(other);
      }
    }
    for (const size_t align : {size_t{0}, size_t{3}, size_t{48}, 2 * kPageSize}) EXPECT_EQ(allocate_aligned_at_hand(align, 100), nullptr);
    for (const size_t size : {size_t{0}, size_t{8}, kMaxClassSize + 1, SIZE_MAX}) EXPECT_EQ(allocate_aligned_at_hand(8, size), nullptr);
  });
}

TEST(Heap, ZeroBytesAreABlock) {
  in_own_heap([] {
    void *a = take(0), *b = take(0);
    EXPECT_NE(a, nullptr);
    EXPECT_NE(a, b);
    give(a);
    give(b);
  });
}

TEST(Heap, LastFreedFirstTaken) {
  in_own_heap([] {
    for (const size_t size : {size_t{16}, size_t{100}, size_t{1024}, size_t{2000}, size_t{30000}}) {
      void *a = take(size), *b = take(size);
      give(a);
      give(b);
      EXPECT_EQ(take(size), b);
      EXPECT_EQ(take(size), a);
    }
  });
}

// Threads that are each handed a block, free it, and make one of their own, must not come to write to one cache line.
TEST(Heap, WhoFreesAnothersBlockFirstGetsNoLineOfOthers) {
  in_own_heap([] {
    constexpr size_t kThreads = 3;
    for (const size_t size : {8u, 16u, 32u, 48u, 80u}) {
      void *handed[kThreads];
      for (void *&block : handed) block = take(size);
      std::vector<uintptr_t> lines;
      for (void *&block : handed) {
        std::thread([&] {
          give(block);
          block = take(size);
        }).join();
        for (uintptr_t line = address_of(block) / 64; line <= (address_of(block) + size - 1) / 64; ++line) lines.push_back(line);
      }
      std::sort(lines.begin(), lines.end());
      EXPECT_EQ(std::adjacent_find(lines.begin(), lines.end()), lines.end()) << "blocks of " << size;
      for (void *block : handed) give(block);
    }
  });
}

// operator delete is told a size. The block's own is what counts: a type may be deleted as one of another size.
TEST(Heap, AFreeWithAnotherSizeIsAFree) {
  in_own_heap([] {
    for (const size_t size : {size_t{1}, size_t{8}, size_t{16}, size_t{100}, size_t{1024}, size_t{2000}, size_t{100000}}) {
      for (const size_t told : {size, size_t{0}, size_t{1}, size_t{24}, size_t{1000}, size_t{5000}, SIZE_MAX}) {
        void *block = take(size);
        memset(block, 1, size);
        release_sized<give>(block, told);
        EXPECT_FALSE(find_block(address_of(block)).kind != Block::Kind::kNone) << size << " freed as " << told;
        EXPECT_EQ(take(size), block) << size << " freed as " << told;
        release_sized<give>(block, size);
      }
    }
  });
}

void fail_to_give(void *) { ADD_FAILURE() << "the other way"; }

// Else each delete of an int takes the way twice.
TEST(Heap, AFreeWithItsOwnSizeTakesTheShortWay) {
  in_own_heap([] {
    for (const size_t size : {size_t{0}, size_t{1}, size_t{4}, size_t{8}, size_t{16}, size_t{100}, size_t{1024}}) {
      give(take(size));  // the bin is open
      void *block = take(size);
      release_sized<fail_to_give>(block, size);
      EXPECT_EQ(take(size), block) << size;
      give(block);
    }
  });
}

TEST(HeapDeathTest, ASecondFreeWithASizeIsCaught) {
  EXPECT_EXIT(
      {
        void *block = take(100);
        release_sized<give>(block, 100);
        release_sized<give>(block, 100);
      },
      ::testing::KilledBySignal(SIGABRT), "^warren: fatal error: double free: free\\(0x[0-9a-f]+\\)");
}

TEST(Heap, ZeroedBlocksAreZero) {
  in_own_heap([] {
    for (int round = 0; round < 2; ++round) {
      for (const size_t size : {size_t{0}, size_t{1}, size_t{8}, size_t{24}, size_t{1000}, size_t{1025}, size_t{32768},
                                size_t{32769}, size_t{1} << 20}) {
        void *dirty = take(size);
        memset(dirty, 0xff, usable_size(dirty, "malloc_usable_size"));
        give(dirty);
        void *block = allocate_zeroed(size);
        ASSERT_NE(block, nullptr);
        EXPECT_TRUE(all_are(block, size, 0)) << size;
        memset(block, 0xff, size);
        give(block);
      }
      release_free_memory();  // the second round meets released pages
    }
  });
}

TEST(Heap, EveryAlignmentOfEverySize) {
  in_own_heap([] {
    std::vector<void *> live;
    for (size_t align = 1; align <= (size_t{4} << 20); align *= 2) {
      for (const size_t size : {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{9}, size_t{24}, align - 1, align,
                                align + 1, 3 * align, size_t{1000}, size_t{40000}}) {
        void *block = allocate_aligned(align, size);
        ASSERT_NE(block, nullptr) << align << " " << size;
        ASSERT_EQ(address_of(block) % align, 0u) << size;
        const size_t usable = usable_size(block, "malloc_usable_size");
        ASSERT_GE(usable, size);
        memset(block, 1, size);
        ASSERT_NE(find_block(address_of(block)).kind, Block::Kind::kNone);
        live.push_back(block);
      }
    }
    for (void *block : live) give(block);
    EXPECT_EQ(allocate_aligned(size_t{1} << 47, 1), nullptr);
    EXPECT_EQ(allocate_aligned(size_t{1} << 63, 1), nullptr);
    EXPECT_EQ(allocate_aligned(4096, ~size_t{0}), nullptr);
    EXPECT_EQ(allocate_aligned(4096, ~size_t{0} - 4095), nullptr);
  });
}

TEST(Heap, TheImpossibleIsNull) {
  in_own_heap([] {
    for (size_t off = 0; off < 20000; off += 13) {
      ASSERT_EQ(take(~size_t{0} - off), nullptr);
      ASSERT_EQ(take(size_t{PTRDIFF_MAX} + off), nullptr);
      ASSERT_EQ(allocate_zeroed(~size_t{0} - off), nullptr);
      ASSERT_EQ(allocate_aligned(64, ~size_t{0} - off), nullptr);
    }
    for (unsigned shift = 44; shift < 64; ++shift) EXPECT_EQ(take(size_t{1} << shift), nullptr);
    EXPECT_LT(arena.grown_bytes(), size_t{64} << 20) << "nothing was mapped for it";
  });
}

TEST(Heap, OwnsKnowsItsAddresses) {
  in_own_heap([] {
    int local;
    void *block = take(10), *emergency_block = emergency::allocate(10, 16);
    EXPECT_TRUE(owns(block));
    EXPECT_TRUE(owns(emergency_block));
    EXPECT_FALSE(owns(&local));
    EXPECT_FALSE(owns(nullptr));
    EXPECT_EQ(usable_size(nullptr, "malloc_usable_size"), 0u);
    give(nullptr);
    give(emergency_block);
    give(block);
  });
}

TEST(Heap, JunkFillsOnBothSides) {
  in_own_heap([] {
    options.junk.store(1);
    for (const size_t size : {size_t{8}, size_t{100}, size_t{1024}, size_t{5000}, size_t{40000}}) {
      void *block = take(size);
      EXPECT_TRUE(all_are(block, size, 0xa5)) << size;
      void *keeps_the_span = take(size);
      memset(block, 1, size);
      give(block);
      if (size <= kMaxClassSize) {
        EXPECT_TRUE(all_are(block, rounded_size(size), 0x5a)) << size;
      }
      void *zeroed = allocate_zeroed(size);
      EXPECT_TRUE(all_are(zeroed, size, 0)) << size;
      void *aligned = allocate_aligned(256, size);
      EXPECT_TRUE(all_are(aligned, size, 0xa5)) << size;
      give(keeps_the_span);
    }
  });
}

TEST(Heap, ZeroOnFree) {
  in_own_heap([] {
    options.zero_on_free.store(1);
    for (const size_t size : {size_t{8}, size_t{100}, size_t{1024}, size_t{5000}}) {
      void *block = take(size), *neighbour = take(size);
      memset(block, 1, rounded_size(size));
      memset(neighbour, 2, rounded_size(size));
      give(block);
      EXPECT_TRUE(all_are(block, rounded_size(size), 0)) << size;
      EXPECT_TRUE(all_are(neighbour, rounded_size(size), 2)) << size;
    }
  });
}

TEST(Heap, FreeMemoryGoesBack) {
  in_own_heap([] {
    std::vector<void *> blocks;
    for (int i = 0; i < 20000; ++i) blocks.push_back(take(static_cast<size_t>(i) % 3000));
    blocks.push_back(take(size_t{8} << 20));
    for (void *block : blocks) memset(block, 1, usable_size(block, "malloc_usable_size"));
    for (void *block : blocks) give(block);
    EXPECT_GT(release_free_memory(), size_t{30} << 20);
    const page_heap::Stats pages = page_heap::stats();
    EXPECT_EQ(pages.released_pages, pages.free_pages);
    EXPECT_EQ(pages.free_pages, pages.grown_pages - 1) << "every page but page 0";
    EXPECT_EQ(release_free_memory(), 0u);
    wr_mem_stats now;
    stats::read(now);
    EXPECT_EQ(now.heap_objects, 0u);
    EXPECT_EQ(now.cache_inuse, 0u);
    for (int i = 0; i < 1000; ++i) give(take(100));
  });
}

// At a limit, what the thread hoards in its cache is made use of.
TEST(Heap, ACacheIsEmptiedBeforeALargeBlockIsRefused) {
  in_own_heap([] {
    options.arena.store(kMinArenaSize);
    std::vector<void *> blocks;
    while (void *block = take(1024)) blocks.push_back(block);
    EXPECT_GT(blocks.size() * 1024, kMinArenaSize - (size_t{1} << 20)) << "hardly anything is lost";
    EXPECT_EQ(take(100000), nullptr);
    for (void *block : blocks) give(block);
    void *large = take(kMinArenaSize - 16 * kPageSize);
    EXPECT_NE(large, nullptr);
    give(large);
  });
}

// Two threads that free a block at the same moment may both succeed: it is then in two places, and is caught when the
// second of them hands it out.
void *in_the_cache_twice() {
  void *block = take(100);
  give(block);
  void **&top = current_cache()->top[hot.empty.class_of[100]];
  *top++ = block;
  return block;
}

TEST(HeapDeathTest, ABlockThatIsInACacheTwiceIsCaught) {
  EXPECT_EXIT(
      {
        in_the_cache_twice();
        take(100);
        take(100);
      },
      ::testing::KilledBySignal(SIGABRT),
      "^warren: fatal error: double free: free\\(0x[0-9a-f]+\\): two threads freed this block of 112 bytes at the same time and it is in use again; aborting\n$");
}

TEST(Heap, ABlockThatIsInACacheTwiceIsHandedOutOnceWhereErrorsAreIgnored) {
  in_own_heap([] {
    fatal::set_abort_on_error(false);
    void *block = in_the_cache_twice();
    EXPECT_EQ(take(100), block);
    CapturedFd captured;
    void *next = take(100);
    EXPECT_NE(next, nullptr);
    EXPECT_NE(next, block);
    EXPECT_NE(captured.text().find("two threads freed this block of 112 bytes"), std::string::npos);
  });
}

// --- inside the heap already: a signal handler that interrupted a slow path ---

TEST(HeapReentered, MallocIsServedFromThePool) {
  in_own_heap([] {
    give(take(100));
    const CacheAccess interrupted;
    for (const size_t size : {size_t{0}, size_t{8}, size_t{100}, size_t{5000}, size_t{40000}}) {
      void *block = take(size);
      ASSERT_NE(block, nullptr) << size;
      EXPECT_TRUE(emergency::contains(address_of(block))) << size;
      EXPECT_EQ(address_of(block) % kMinAlign, 0u);
      EXPECT_GE(usable_size(block, "malloc_usable_size"), size);
      memset(block, 1, size);
      void *zeroed = allocate_zeroed(size);
      EXPECT_TRUE(zeroed != nullptr && all_are(zeroed, size, 0));
      void *grown = reallocate(block, 2 * size + 1, "realloc");
      EXPECT_TRUE(grown != nullptr && all_are(grown, size, 1));
      give(grown);
      give(zeroed);
    }
    EXPECT_EQ(take(size_t{1} << 20), nullptr) << "more than the pool";
  });
}

TEST(HeapReentered, AlignmentsHold) {
  in_own_heap([] {
    give(take(100));
    const CacheAccess interrupted;
    give(take(48));
    for (size_t align = 1; align <= 4096; align *= 2) {
      for (const size_t size : {size_t{1}, size_t{100}, size_t{2000}}) {
        void *block = allocate_aligned(align, size);
        ASSERT_NE(block, nullptr);
        EXPECT_EQ(address_of(block) % align, 0u) << align << " " << size;
        give(block);
      }
    }
  });
}

TEST(HeapReentered, FreesWaitUntilTheHeapIsEnteredAgain) {
  in_own_heap([] {
    const size_t sizes[] = {8, 16, 100, 5000, 40000, 300000};
    std::vector<void *> blocks;
    for (const size_t size : sizes) blocks.push_back(take(size));
    wr_mem_stats before, after;
    stats::read(before);
    {
      const CacheAccess interrupted;
      for (void *block : blocks) give(block);
      EXPECT_TRUE(emergency::has_deferred());
      for (void *block : blocks)
        EXPECT_EQ(find_block(address_of(block)).kind, Block::Kind::kNone) << "a second free is caught";
    }
    release_free_memory();
    EXPECT_FALSE(emergency::has_deferred());
    stats::read(after);
    EXPECT_EQ(after.heap_objects, before.heap_objects - std::size(sizes));
    EXPECT_EQ(after.frees, before.frees + std::size(sizes));
    EXPECT_EQ(after.mallocs, before.mallocs);
  });
}

TEST(HeapReentered, AReallocOfABlockOfTheHeap) {
  in_own_heap([] {
    for (const size_t size : {size_t{8}, size_t{100}, size_t{5000}, size_t{40000}}) {
      void *block = take(size);
      memset(block, 7, size);
      const CacheAccess interrupted;
      void *moved = reallocate(block, size + 20000, "realloc");
      ASSERT_NE(moved, nullptr) << size;
      EXPECT_TRUE(all_are(moved, size, 7)) << size;
      give(moved);
    }
  });
}

TEST(HeapReentered, BlocksOfThePoolLeaveItLater) {
  in_own_heap([] {
    give(take(100));
    void *block;
    {
      const CacheAccess interrupted;
      block = take(200);
      memset(block, 9, 200);
    }
    EXPECT_TRUE(emergency::contains(address_of(block)));
    void *moved = reallocate(block, 300, "realloc");
    EXPECT_FALSE(emergency::contains(address_of(moved)));
    EXPECT_TRUE(all_are(moved, 200, 9));
    give(moved);
    EXPECT_NE(emergency::allocate(250000, 16), nullptr) << "the pool is free again";
  });
}

}  // namespace
}  // namespace warren
