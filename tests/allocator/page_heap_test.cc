// Runs of pages: allocator/page_heap.h, page_map.h, span.h. Run as a test of its own.
// Invariant: each test has an arena of its own, and at the end of it all its pages are walked (page_walk.h).
#include "allocator/page_heap.h"

#include "allocator/base/options.h"
#include "allocator/heap.h"
#include "allocator/metadata.h"
#include "allocator/object_map.h"
#include "allocator/page_map.h"
#include "tests/allocator/own_heap.h"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>

namespace warren {
namespace {

constexpr uint32_t kStepPages = kStepSize >> kPageShift;

Span *large(uint32_t pages) { return page_heap::allocate(PageCount{pages}, SpanState::kLarge, SizeClass{0}); }

char *memory(const Span *span) { return at_address<char>(span->start()); }

bool all_zero(const Span *span) {
  const char *bytes = memory(span);
  for (size_t i = 0; i < span->bytes(); ++i) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

TEST(PageHeap, TheFirstRunIsCutFromTheFirstStep) {
  in_own_heap([] {
    Span *span = large(3);
    ASSERT_NE(span, nullptr);
    EXPECT_EQ(span->first, PageId{1}) << "page 0 is never handed out";
    EXPECT_EQ(span->count, PageCount{3});
    EXPECT_EQ(span->end(), PageId{4});
    EXPECT_EQ(span->last(), PageId{3});
    EXPECT_EQ(span->state, SpanState::kLarge);
    EXPECT_TRUE(span->covers(PageId{3}));
    EXPECT_FALSE(span->covers(PageId{4}));
    EXPECT_TRUE(span->zero);
    EXPECT_TRUE(all_zero(span));
    EXPECT_EQ(arena.end_page().value, kStepPages);
    const page_heap::Stats stats = page_heap::stats();
    EXPECT_EQ(stats.grown_pages, kStepPages);
    EXPECT_EQ(stats.free_pages, kStepPages - 1 - 3);
    EXPECT_EQ(stats.released_pages, stats.free_pages) << "never touched";
    EXPECT_EQ(stats.large_pages, 3u);
    page_heap::free(span);
    EXPECT_EQ(page_heap::stats().large_pages, 0u);
  });
}

TEST(PageHeap, SpansOfObjectsAreInThePageMapOnEveryPage) {
  in_own_heap([] {
    Span *span = page_heap::allocate(PageCount{5}, SpanState::kObjects, SizeClass{9});
    ASSERT_NE(span, nullptr);
    EXPECT_EQ(span->size_class, SizeClass{9});
    for (uint32_t page = 0; page < 5; ++page) EXPECT_EQ(page_map::at(PageId{span->first.value + page}), span);
    EXPECT_EQ(page_heap::stats().large_pages, 0u);
    EXPECT_EQ(span->index_of(span->start() + 112 * 7 + 111), 7u);
    page_heap::free(span);
  });
}

// Frees the three of a row in every order; the last one merges on both sides.
TEST(PageHeap, FreeRunsMergeOnBothSides) {
  const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  for (const auto &order : orders) {
    in_own_heap([&] {
      Span *row[3] = {large(2), large(3), large(4)};
      Span *guard = large(1);
      const uintptr_t start = row[0]->start();
      ASSERT_EQ(guard->start(), start + 9 * kPageSize) << "fresh runs are cut off one behind the other";
      for (const int i : order) {
        page_heap::free(row[i]);
        walk_pages();
      }
      const page_heap::PageState merged = page_heap::describe(PageId{5});
      EXPECT_TRUE(merged.known);
      EXPECT_EQ(merged.state, SpanState::kFree);
      EXPECT_EQ(merged.span_start, start);
      EXPECT_EQ(merged.span_bytes, 9 * kPageSize);
      Span *whole = large(9);
      EXPECT_EQ(whole->start(), start);
      EXPECT_FALSE(whole->zero) << "somebody may have written there";
    });
  }
}

TEST(PageHeap, WarmAndUntouchedRunsDoNotMerge) {
  in_own_heap([] {
    Span *span = large(4);
    const uintptr_t start = span->start();
    page_heap::free(span);
    EXPECT_EQ(page_heap::describe(PageId{1}).span_bytes, 4 * kPageSize);
    EXPECT_EQ(page_heap::release_all(), 4 * kPageSize);
    const page_heap::PageState all = page_heap::describe(PageId{1});
    EXPECT_EQ(all.span_start, start) << "both released: one run";
    EXPECT_EQ(all.span_bytes, (kStepPages - 1) * kPageSize);
  });
}

TEST(PageHeap, TheTightestRunIsTakenAndOfSuchTheFirst) {
  in_own_heap([] {
    const uint32_t lengths[] = {8, 3, 200, 5, 150, 4, 13, 8, 200};
    Span *runs[std::size(lengths)], *guards[std::size(lengths)];
    for (size_t i = 0; i < std::size(lengths); ++i) {
      runs[i] = large(lengths[i]);
      guards[i] = large(1);
    }
    uintptr_t starts[std::size(lengths)];
    for (size_t i = 0; i < std::size(lengths); ++i) {
      starts[i] = runs[i]->start();
      page_heap::free(runs[i]);
    }
    EXPECT_EQ(large(3)->start(), starts[1]);
    EXPECT_EQ(large(3)->start(), starts[5]) << "4 is the next best; a page of it is left";
    EXPECT_EQ(large(140)->start(), starts[4]);
    EXPECT_EQ(large(160)->start(), starts[2]);
    EXPECT_EQ(large(6)->start(), starts[0]);
    EXPECT_EQ(large(5)->start(), starts[3]);
    walk_pages();
    (void)guards;
  });
}

TEST(PageHeap, AmongRunsOfOneListTheTightestIsTaken) {
  in_own_heap([] {
    // 1024 to 1151 pages share a list.
    const uint32_t lengths[] = {1100, 1030, 1150, 1060};
    Span *runs[4], *guards[4];
    uintptr_t starts[4];
    for (size_t i = 0; i < 4; ++i) {
      runs[i] = large(lengths[i]);
      guards[i] = large(1);
      starts[i] = runs[i]->start();
    }
    for (Span *run : runs) page_heap::free(run);
    EXPECT_EQ(large(1050)->start(), starts[3]);
    EXPECT_EQ(large(1050)->start(), starts[0]);
    EXPECT_EQ(large(1050)->start(), starts[2]);
    (void)guards;
  });
}

TEST(PageHeap, WarmRunsComeBeforeUntouchedOnes) {
  in_own_heap([] {
    Span *first = large(20);
    Span *guard = large(1);
    const uintptr_t start = first->start();
    page_heap::free(first);
    EXPECT_EQ(large(2)->start(), start) << "from a warm run of 18 too many, not from the rest of the step";
    (void)guard;
  });
}

// Where no warm run is long enough, the one before untouched pages is used with some of them.
TEST(PageHeap, AWarmRunGrowsIntoUntouchedPages) {
  in_own_heap([] {
    Span *first = large(20);
    const uintptr_t start = first->start();
    memset(memory(first), 1, first->bytes());
    page_heap::free(first);
    Span *longer = large(30);
    EXPECT_EQ(longer->start(), start);
    EXPECT_EQ(longer->count, PageCount{30});
    EXPECT_FALSE(longer->zero);
    EXPECT_EQ(longer->dirty_bytes(), 20 * kPageSize);
    for (size_t at = longer->dirty_bytes(); at < longer->bytes(); ++at) ASSERT_EQ(memory(longer)[at], 0);
    const page_heap::Stats stats = page_heap::stats();
    EXPECT_EQ(stats.released_pages, stats.free_pages) << "nothing warm is left, and what is behind it was never touched";
    page_heap::free(longer);
    EXPECT_EQ(page_heap::stats().free_pages - page_heap::stats().released_pages, 30u);
  });
}

TEST(PageHeap, AWarmRunThatIsAPartTooSmallIsLeft) {
  in_own_heap([] {
    Span *first = large(20);
    const uintptr_t start = first->start();
    page_heap::free(first);
    Span *longer = large(300);
    EXPECT_EQ(longer->start(), start + 20 * kPageSize);
    EXPECT_TRUE(longer->zero);
    EXPECT_EQ(longer->dirty_bytes(), 0u);
  });
}

TEST(PageHeap, AlignedRunsAreNotJoined) {
  in_own_heap([] {
    page_heap::free(large(20));
    Span *aligned = page_heap::allocate_aligned(PageCount{30}, 4 * kPageSize);
    ASSERT_NE(aligned, nullptr);
    EXPECT_TRUE(aligned->zero) << "its head would have been both warm and untouched";
    EXPECT_EQ(page_heap::stats().free_pages - page_heap::stats().released_pages, 20u);
  });
}

// A second free of a large block is recognised as long as its start is free (tests/death).
TEST(PageHeap, SpansOfObjectsTakeTheTailOfAWarmRun) {
  in_own_heap([] {
    Span *block = large(20);
    Span *guard = large(1);
    const PageId first = block->first;
    page_heap::free(block);
    Span *objects = page_heap::allocate(PageCount{2}, SpanState::kObjects, SizeClass{2});
    EXPECT_EQ(objects->first, first + PageCount{18});
    EXPECT_EQ(page_heap::describe(first).state, SpanState::kFree);
    walk_pages();
    page_heap::free(objects);
    (void)guard;
  });
}

TEST(PageHeap, AlignedRuns) {
  in_own_heap([] {
    for (size_t align = 2 * kPageSize; align <= (size_t{64} << 20); align *= 2) {
      for (const uint32_t pages : {1u, 3u, 16u}) {
        Span *span = page_heap::allocate_aligned(PageCount{pages}, align);
        ASSERT_NE(span, nullptr);
        EXPECT_EQ(span->start() % align, 0u);
        EXPECT_EQ(span->count.value, pages) << "head and tail went back";
        EXPECT_EQ(span->state, SpanState::kLarge);
        memory(span)[span->bytes() - 1] = 1;
        walk_pages();
      }
    }
  });
}

TEST(PageHeap, ImpossibleAlignmentsAreRefused) {
  in_own_heap([] {
    for (unsigned shift = 44; shift < 64; ++shift) {
      EXPECT_EQ(page_heap::allocate_aligned(PageCount{1}, size_t{1} << shift), nullptr) << shift;
    }
    EXPECT_EQ(page_heap::allocate_aligned(PageCount{1u << 30}, size_t{1} << 40), nullptr);
    EXPECT_EQ(large(1u << 30), nullptr) << "8 TiB do not fit the arena";
  });
}

TEST(PageHeap, ResizeTakesFromTheFreeNeighbourAndGivesBack) {
  in_own_heap([] {
    Span *span = large(4);
    Span *neighbour = large(4);
    Span *guard = large(1);
    EXPECT_FALSE(page_heap::resize(span, PageCount{5})) << "the neighbour is in use";
    memory(neighbour)[0] = 1;
    page_heap::free(neighbour);
    EXPECT_FALSE(page_heap::resize(span, PageCount{9})) << "only 8 there";
    walk_pages();
    ASSERT_TRUE(page_heap::resize(span, PageCount{6}));
    EXPECT_EQ(span->count.value, 6u);
    walk_pages();
    ASSERT_TRUE(page_heap::resize(span, PageCount{8})) << "the neighbour whole";
    walk_pages();
    ASSERT_TRUE(page_heap::resize(span, PageCount{1}));
    EXPECT_EQ(span->count.value, 1u);
    EXPECT_EQ(page_heap::describe(PageId{2}).span_bytes, 7 * kPageSize);
    EXPECT_FALSE(span->zero);
    (void)guard;
  });
}

TEST(PageHeap, ResizeIntoUntouchedPages) {
  in_own_heap([] {
    Span *span = large(4);
    memory(span)[0] = 1;
    ASSERT_TRUE(page_heap::resize(span, PageCount{10}));
    EXPECT_FALSE(span->released);
    EXPECT_FALSE(span->zero) << "the first page is not";
    EXPECT_EQ(memory(span)[9 * kPageSize], 0);
    const page_heap::Stats stats = page_heap::stats();
    EXPECT_EQ(stats.large_pages, 10u);
    EXPECT_EQ(stats.released_pages, kStepPages - 1 - 10) << "what lies behind is still untouched";
  });
}

TEST(PageHeap, ResizeAtTheEndOfTheArena) {
  in_own_heap([] {
    Span *span = large(kStepPages - 1);
    ASSERT_EQ(span->end(), arena.end_page());
    EXPECT_FALSE(page_heap::resize(span, PageCount{kStepPages}));
    EXPECT_TRUE(page_heap::resize(span, PageCount{kStepPages - 1}));
    EXPECT_TRUE(page_heap::resize(span, PageCount{1}));
  });
}

TEST(PageHeap, MoveTakesTheMemoryAlong) {
  in_own_heap([] {
    Span *from = large(40);
    Span *guard = large(1);
    for (uint32_t page = 0; page < 40; ++page) memory(from)[page * kPageSize] = static_cast<char>(page + 1);
    const uintptr_t old_start = from->start();
    Span *to = large(60);
    ASSERT_EQ(page_heap::move(from, to, PageCount{40}), page_heap::MoveResult::kMoved);
    for (uint32_t page = 0; page < 40; ++page) EXPECT_EQ(memory(to)[page * kPageSize], static_cast<char>(page + 1));
    EXPECT_EQ(memory(to)[50 * kPageSize], 0);
    const page_heap::Stats stats = page_heap::stats();
    EXPECT_EQ(stats.large_pages, 61u);
    EXPECT_EQ(stats.released_pages, stats.free_pages) << "no memory is left behind the old place";
    walk_pages();
    Span *again = large(40);
    EXPECT_EQ(again->start(), old_start);
    EXPECT_TRUE(again->zero);
    EXPECT_TRUE(all_zero(again));
    (void)guard;
  });
}

TEST(PageHeap, MoveOfTheFirstPagesLeavesTheRestDirty) {
  in_own_heap([] {
    Span *from = large(10);
    Span *guard = large(1);
    memset(memory(from), 0x77, from->bytes());
    from->zero = false;  // as whoever hands it to a program does
    Span *to = large(4);
    ASSERT_EQ(page_heap::move(from, to, PageCount{4}), page_heap::MoveResult::kMoved);
    EXPECT_EQ(memory(to)[4 * kPageSize - 1], 0x77);
    walk_pages();
    Span *rest = large(6);
    EXPECT_FALSE(rest->zero);
    Span *first = large(4);
    EXPECT_TRUE(first->zero);
    EXPECT_TRUE(all_zero(first));
    (void)guard;
  });
}

TEST(PageHeap, ReleaseAllGivesEveryWarmRunBack) {
  in_own_heap([] {
    EXPECT_EQ(page_heap::release_all(), 0u) << "nothing is warm";
    Span *runs[6], *guards[6];
    for (int i = 0; i < 6; ++i) {
      runs[i] = large(static_cast<uint32_t>(i + 1) * 30);
      guards[i] = large(1);
      memset(memory(runs[i]), 0x55, runs[i]->bytes());
      memset(memory(guards[i]), 0x66, guards[i]->bytes());
    }
    for (Span *run : runs) page_heap::free(run);
    EXPECT_EQ(page_heap::release_all(), (1 + 2 + 3 + 4 + 5 + 6) * 30 * kPageSize);
    EXPECT_EQ(page_heap::release_all(), 0u);
    const page_heap::Stats stats = page_heap::stats();
    EXPECT_EQ(stats.released_pages, stats.free_pages);
    walk_pages();
    for (const Span *guard : guards) EXPECT_EQ(memory(guard)[kPageSize - 1], 0x66) << "live pages are not touched";
    Span *again = large(90);
    EXPECT_TRUE(again->zero);
    EXPECT_TRUE(all_zero(again));
  });
}

TEST(PageHeap, LockedPagesStayWarmAndDirty) {
  in_own_heap([] {
    Span *locked = large(2);
    Span *guard = large(1);
    Span *other = large(3);
    Span *last = large(1);
    memset(memory(locked), 0x11, locked->bytes());
    memset(memory(other), 0x11, other->bytes());
    if (mlock(memory(locked), locked->bytes()) != 0) return;  // not allowed here
    page_heap::free(locked);
    page_heap::free(other);
    EXPECT_EQ(page_heap::release_all(), 3 * kPageSize);
    walk_pages();
    Span *again = large(2);
    EXPECT_FALSE(again->zero) << "it is not";
    EXPECT_EQ(again->first, PageId{1});
    (void)guard;
    (void)last;
  });
}

TEST(PageHeap, DescribeKnowsEveryPage) {
  in_own_heap([] {
    EXPECT_FALSE(page_heap::describe(PageId{0}).known) << "nothing has grown yet";
    Span *block = large(100);
    Span *objects = page_heap::allocate(PageCount{8}, SpanState::kObjects, SizeClass{40});
    EXPECT_FALSE(page_heap::describe(PageId{0}).known);
    for (uint32_t page = 1; page < arena.end_page().value; ++page) {
      const page_heap::PageState state = page_heap::describe(PageId{page});
      ASSERT_TRUE(state.known) << page;
      const Span *span = page <= 100 ? block : page <= 108 ? objects : nullptr;
      ASSERT_EQ(state.state, span != nullptr ? span->state : SpanState::kFree) << page;
      if (span == nullptr) continue;
      ASSERT_EQ(state.span_start, span->start());
      ASSERT_EQ(state.span_bytes, span->bytes());
      ASSERT_EQ(state.size_class, span->size_class);
    }
  });
}

// Entries inside a large span are left over from the spans that were there before.
TEST(PageHeap, StaleEntriesOfThePageMapAreNotBelieved) {
  in_own_heap([] {
    Span *small[30];
    for (Span *&span : small) span = page_heap::allocate(PageCount{2}, SpanState::kObjects, SizeClass{40});
    for (Span *span : small) page_heap::free(span);
    Span *block = large(60);
    ASSERT_EQ(block->first, PageId{1});
    for (uint32_t page = 1; page <= 60; ++page) {
      const page_heap::PageState state = page_heap::describe(PageId{page});
      ASSERT_TRUE(state.known && state.state == SpanState::kLarge) << page;
      ASSERT_EQ(state.span_start, block->start());
    }
    page_heap::free(block);
    for (uint32_t page = 1; page <= 60; ++page)
      ASSERT_EQ(page_heap::describe(PageId{page}).state, SpanState::kFree) << page;
  });
}

TEST(PageHeap, GrowthIsAnEighthOfTheArena) {
  in_own_heap([] {
    uint32_t end = 0;
    while (arena.end_page().value < 40 * kStepPages) {
      Span *span = large(200);
      ASSERT_NE(span, nullptr);
      const uint32_t now = arena.end_page().value;
      if (now != end) {
        const uint32_t grown = now - end;
        EXPECT_EQ(grown % kStepPages, 0u);
        EXPECT_GE(grown, end / 8);
        EXPECT_LE(grown, end / 8 + 2 * kStepPages);
      }
      end = now;
    }
  });
}

constexpr uint32_t kHugePages = (size_t{2} << 20) >> kPageShift;

// A run of `pages` that was written to, with a page in use behind it; warm once it is free.
struct Dirty {
  explicit Dirty(uint32_t pages) : span(large(pages)), guard(large(1)) {
    first = span->first.value;
    start = span->start();
    bytes = span->bytes();
    memset(memory(span), 0x55, bytes);
    memset(memory(guard), 0x66, guard->bytes());
  }
  Span *span, *guard;
  uint32_t first;
  uintptr_t start;
  size_t bytes;
};

Dirty warm_run(uint32_t pages) {
  const Dirty run(pages);
  page_heap::free(run.span);
  return run;
}

TEST(Scavenge, NothingIsWarm) {
  in_own_heap([] {
    EXPECT_EQ(page_heap::scavenge(PageCount{kHugePages}), PageCount{0}) << "not even grown";
    Span *span = large(5);
    EXPECT_EQ(page_heap::scavenge(PageCount{kHugePages}), PageCount{0}) << "free pages, but never touched";
    EXPECT_EQ(page_heap::stats().scavenged_pages, 0u);
    (void)span;
  });
}

// From the end of the run, and each cut where a huge page ends.
TEST(Scavenge, ARunGoesPieceByPiece) {
  in_own_heap([] {
    const Dirty run = warm_run(3 * kHugePages + 100);
    ASSERT_EQ(run.first, 1u);
    ASSERT_EQ(resident(run.start, run.bytes), run.bytes / kOsPageSize);
    const uint32_t pieces[] = {101, kHugePages, kHugePages, kHugePages - 1};
    uint32_t gone = 0, left = 3 * kHugePages + 100;
    for (const uint32_t piece : pieces) {
      ASSERT_EQ(page_heap::scavenge(PageCount{kHugePages}), PageCount{piece});
      gone += piece;
      left -= piece;
      EXPECT_EQ(page_heap::stats().scavenged_pages, gone);
      const uintptr_t border = run.start + PageCount{left}.bytes();
      EXPECT_EQ((arena.page_of(border).value) % kHugePages, left == 0 ? 1u : 0u);
      EXPECT_EQ(resident(border, PageCount{gone}.bytes()), 0u);
      EXPECT_EQ(resident(run.start, PageCount{left}.bytes()), PageCount{left}.bytes() / kOsPageSize);
      walk_pages();
    }
    EXPECT_EQ(page_heap::scavenge(PageCount{kHugePages}), PageCount{0});
    EXPECT_EQ(memory(run.guard)[kPageSize - 1], 0x66) << "live pages are not touched";
    const page_heap::PageState whole = page_heap::describe(PageId{run.first});
    EXPECT_EQ(whole.span_start, run.start) << "the pieces have merged";
    EXPECT_EQ(whole.span_bytes, run.bytes);
    Span *again = large(3 * kHugePages + 100);
    EXPECT_EQ(again->start(), run.start);
    EXPECT_TRUE(again->zero);
    EXPECT_TRUE(all_zero(again));
  });
}

TEST(Scavenge, NoMoreThanAsked) {
  in_own_heap([] {
    const Dirty run = warm_run(90);
    EXPECT_EQ(page_heap::scavenge(PageCount{7}), PageCount{7});
    EXPECT_EQ(page_heap::describe(PageId{run.first}).span_bytes, 83 * kPageSize);
    EXPECT_EQ(page_heap::scavenge(PageCount{1}), PageCount{1});
    EXPECT_EQ(page_heap::describe(PageId{run.first}).span_bytes, 82 * kPageSize);
    EXPECT_EQ(page_heap::describe(PageId{run.first + 82}).span_bytes, 8 * kPageSize);
    Span *dirty = large(82);
    EXPECT_EQ(dirty->first.value, run.first);
    EXPECT_FALSE(dirty->zero);
    EXPECT_EQ(memory(dirty)[dirty->bytes() - 1], 0x55);
  });
}

TEST(Scavenge, LongRunsFirst) {
  in_own_heap([] {
    const Dirty brief(10), longest(70), middle(30);
    for (const Dirty *run : {&brief, &longest, &middle}) page_heap::free(run->span);
    EXPECT_EQ(page_heap::scavenge(PageCount{kHugePages}), PageCount{70});
    EXPECT_EQ(resident(longest.start, longest.bytes), 0u);
    EXPECT_EQ(page_heap::scavenge(PageCount{kHugePages}), PageCount{30});
    EXPECT_EQ(page_heap::scavenge(PageCount{kHugePages}), PageCount{10});
    EXPECT_EQ(page_heap::release_all(), 0u);
    EXPECT_EQ(page_heap::stats().scavenged_pages, 110u);
  });
}

TEST(Scavenge, ReleaseAllIsNotCounted) {
  in_own_heap([] {
    warm_run(40);
    EXPECT_EQ(page_heap::scavenge(PageCount{8}), PageCount{8});
    EXPECT_EQ(page_heap::release_all(), 32 * kPageSize);
    EXPECT_EQ(page_heap::stats().scavenged_pages, 8u);
  });
}

TEST(Scavenge, LockedPagesAreRefusedAndKept) {
  in_own_heap([] {
    Span *locked = large(20);
    Span *guard = large(1);
    const uintptr_t start = locked->start();
    memset(memory(locked), 0x11, locked->bytes());
    if (mlock(memory(locked), locked->bytes()) != 0) GTEST_SKIP() << "mlock is not allowed here";
    page_heap::free(locked);
    for (int round = 0; round < 3; ++round) {
      EXPECT_EQ(page_heap::scavenge(PageCount{8}), PageCount{0}) << "a part of it";
      EXPECT_EQ(page_heap::scavenge(PageCount{kHugePages}), PageCount{0}) << "all of it";
      walk_pages();
    }
    EXPECT_EQ(page_heap::stats().scavenged_pages, 0u);
    EXPECT_EQ(page_heap::describe(PageId{1}).span_bytes, 20 * kPageSize) << "the parts have merged again";
    EXPECT_EQ(page_heap::take_warm_memory().pages, 20u);
    Span *again = large(20);
    EXPECT_EQ(again->start(), start);
    EXPECT_FALSE(again->zero);
    for (size_t at = 0; at < again->bytes(); ++at) ASSERT_EQ(memory(again)[at], 0x11) << at;
    memset(memory(again), 0x22, again->bytes());
    munlock(memory(again), again->bytes());
    page_heap::free(again);
    EXPECT_EQ(page_heap::scavenge(PageCount{kHugePages}), PageCount{20}) << "once it is unlocked";
    (void)guard;
  });
}

// Blocks of both kinds, over what was scavenged before: the object map's bytes went along.
TEST(Scavenge, ScavengedPagesServeEveryKindOfSpan) {
  in_own_heap([] {
    const Dirty run = warm_run(2 * kHugePages);
    while (page_heap::scavenge(PageCount{kHugePages}).value != 0) {
    }
    const auto rest = static_cast<uint32_t>(page_heap::stats().free_pages) - 2 * kHugePages;
    ASSERT_GT(large(rest)->start(), run.start) << "what was never touched is used up";
    Span *objects = page_heap::allocate(PageCount{4}, SpanState::kObjects, SizeClass{3});
    ASSERT_NE(objects, nullptr);
    EXPECT_TRUE(objects->zero);
    EXPECT_GE(objects->start(), run.start);
    EXPECT_LT(objects->start(), run.start + run.bytes);
    for (uint32_t page = 0; page < 4; ++page) {
      const uint64_t *bits = arena.bits(objects->first + PageCount{page});
      ASSERT_EQ(std::count(bits, bits + kBitmapBytesPerPage / 8, 0u), kBitmapBytesPerPage / 8);
      const uint64_t *free_bits = arena.free_bits(objects->first + PageCount{page}, 512);
      ASSERT_EQ(std::count(free_bits, free_bits + kFreeBitsBytesPerPage / 8, 0u), kFreeBitsBytesPerPage / 8);
    }
    for (uintptr_t at = objects->start(); at < objects->end().value * kPageSize + arena.start; at += kTinySize) {
      ASSERT_EQ(*object_map::fine(at), 0);
      ASSERT_EQ(*object_map::coarse(at), 0);
    }
    Span *block = large(kHugePages);
    EXPECT_TRUE(all_zero(block));
    walk_pages();
    page_heap::free(objects);
    page_heap::free(block);
  });
}

TEST(WarmMemory, LeastIsWhatStayedFreeSinceTheLastLook) {
  in_own_heap([] {
    EXPECT_EQ(page_heap::take_warm_memory().pages, 0u);
    const Dirty run = warm_run(100);
    page_heap::WarmMemory look = page_heap::take_warm_memory();
    EXPECT_EQ(look.pages, 100u);
    EXPECT_EQ(look.least_pages, 0u) << "nothing was warm at the last look";
    EXPECT_EQ(look.used_pages, 2u) << "the guard, and page 0";
    EXPECT_EQ(look.pages_over_limit, 0u);
    look = page_heap::take_warm_memory();
    EXPECT_EQ(look.least_pages, 100u);
    Span *taken = large(60);
    EXPECT_EQ(taken->start(), run.start);
    page_heap::free(taken);
    look = page_heap::take_warm_memory();
    EXPECT_EQ(look.pages, 100u) << "all is back,";
    EXPECT_EQ(look.least_pages, 0u) << "but the run was out of its list";
    EXPECT_EQ(page_heap::scavenge(PageCount{30}), PageCount{30});
    EXPECT_EQ(page_heap::take_warm_memory().pages, 70u);
    EXPECT_EQ(page_heap::take_warm_memory().least_pages, 70u);
  });
}

// What the allocation leaves of the run is as warm as before.
TEST(WarmMemory, LeastWithTwoRuns) {
  in_own_heap([] {
    const Dirty one(100), two(40);
    page_heap::free(one.span);
    page_heap::free(two.span);
    (void)page_heap::take_warm_memory();
    EXPECT_EQ(page_heap::take_warm_memory().least_pages, 140u);
    Span *taken = large(40);
    EXPECT_EQ(taken->start(), two.start);
    EXPECT_EQ(page_heap::take_warm_memory().least_pages, 100u);
    page_heap::free(taken);
    EXPECT_EQ(page_heap::take_warm_memory().least_pages, 100u);
    EXPECT_EQ(page_heap::take_warm_memory().least_pages, 140u);
  });
}

TEST(WarmMemory, ABlockThatGrowsInPlaceTakesFromIt) {
  in_own_heap([] {
    Span *grows = large(10);
    warm_run(100);
    (void)page_heap::take_warm_memory();
    ASSERT_TRUE(page_heap::resize(grows, PageCount{70}));
    ASSERT_TRUE(page_heap::resize(grows, PageCount{10}));
    const page_heap::WarmMemory look = page_heap::take_warm_memory();
    EXPECT_EQ(look.pages, 100u);
    EXPECT_LE(look.least_pages, 40u);
  });
}

TEST(WarmMemory, OverTheLimit) {
  in_own_heap([] {
    warm_run(1000);
    options.memlimit = PageCount{600}.bytes();
    EXPECT_EQ(page_heap::take_warm_memory().pages_over_limit, 1002u - 600u);
    options.memlimit = PageCount{1002}.bytes();
    EXPECT_EQ(page_heap::take_warm_memory().pages_over_limit, 0u);
    options.memlimit = kNoLimit;
    EXPECT_EQ(page_heap::take_warm_memory().pages_over_limit, 0u);
  });
}

// At the limit the warm pages go before new ones come.
TEST(WarmMemory, NewPagesAtTheLimitCostWarmOnes) {
  in_own_heap([] {
    const Dirty run(400), other(300);
    page_heap::free(run.span);
    page_heap::free(other.span);
    options.memlimit = PageCount{800}.bytes();
    Span *warm = large(300);
    EXPECT_EQ(warm->start(), other.start);
    EXPECT_EQ(page_heap::stats().scavenged_pages, 0u) << "warm pages are there to be used";
    Span *fresh = large(500);
    ASSERT_NE(fresh, nullptr);
    EXPECT_EQ(page_heap::stats().scavenged_pages, 400u) << "803 pages are in use: all that was warm";
    EXPECT_EQ(resident(run.start, run.bytes), 0u);
    Span *more = large(2000);
    ASSERT_NE(more, nullptr) << "the limit refuses nothing";
    walk_pages();
  });
}

}  // namespace
}  // namespace warren
