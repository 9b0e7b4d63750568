// Rows of the object map, and the tracts that spans are cut from for their sake: allocator/page_heap.cc, object_map.h. Run as a test of
// its own. Invariant: each test has an arena of its own, and at the end of it all its pages are walked (page_walk.h).
#include "allocator/page_heap.h"

#include "allocator/base/options.h"
#include "allocator/object_map.h"
#include "tests/allocator/own_heap.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

namespace warren {
namespace {

constexpr uint32_t kStepPages = kStepSize >> kPageShift;

Span *large(uint32_t pages) { return page_heap::allocate(PageCount{pages}, SpanState::kLarge, SizeClass{0}); }

constexpr SizeClass kOfOneRow{6}, kOfTwoRows{7};  // 64 and 80 bytes
constexpr uint32_t kTractPages = 16;

// Of what was never touched, spans of one kind and another, and larger blocks, get tracts of their own.
TEST(Tracts, SpansOfAKindShareTracts) {
  in_own_heap([] {
    ASSERT_NE(large(40), nullptr) << "before that there are none";
    std::map<uint32_t, int> kinds;
    for (unsigned i = 0; i < 120; ++i) {
      Span *span = i % 3 == 2 ? large(1 + i % 4)
                              : page_heap::allocate(PageCount{1}, SpanState::kObjects, i % 3 == 0 ? kOfOneRow : kOfTwoRows);
      for (uint32_t page = span->first.value; page < span->end().value; ++page) {
        const auto [at, added] = kinds.emplace(page / kTractPages, i % 3);
        EXPECT_EQ(at->second, static_cast<int>(i % 3)) << "page " << page;
      }
      walk_pages();
    }
    EXPECT_LT(arena.end_page().value, 2 * kStepPages);
  });
}

TEST(Tracts, SmallHeapsHaveNoTracts) {
  in_own_heap([] {
    for (uint32_t page = 1; page < 32; ++page) {
      const Span *span = page_heap::allocate(PageCount{1}, SpanState::kObjects, page % 2 == 0 ? kOfOneRow : kOfTwoRows);
      EXPECT_EQ(span->first, PageId{page});
    }
    EXPECT_EQ(page_heap::allocate(PageCount{1}, SpanState::kObjects, kOfOneRow)->first, PageId{32});
    EXPECT_EQ(page_heap::allocate(PageCount{1}, SpanState::kObjects, kOfTwoRows)->first, PageId{48});
    EXPECT_EQ(page_heap::allocate(PageCount{15}, SpanState::kObjects, kOfOneRow)->first, PageId{33}) << "all that is left";
    EXPECT_EQ(page_heap::allocate(PageCount{1}, SpanState::kObjects, kOfOneRow)->first, PageId{64});
  });
}

// Where the arena cannot grow no page is kept for anybody.
TEST(Tracts, AtALimitTractsAreLeft) {
  in_own_process([] {
    options.arena = kMinArenaSize;
    ASSERT_TRUE(heap::set_up());
    ASSERT_NE(large(40), nullptr);
    ASSERT_NE(page_heap::allocate(PageCount{1}, SpanState::kObjects, kOfOneRow), nullptr);
    ASSERT_NE(page_heap::allocate(PageCount{1}, SpanState::kObjects, kOfTwoRows), nullptr);
    while (large(1) != nullptr) {
    }
    walk_pages();
    EXPECT_EQ(page_heap::stats().free_pages, 0u);
  });
}

// Spans of small objects that come in bursts, of which a tenth stays, do not spread over the runs that larger blocks need.
TEST(Tracts, HolesComeFirstWhereThereAreMany) {
  in_own_heap([] {
    page_heap::free(large(600));
    std::vector<Span *> kept;
    for (int round = 0; round < 400; ++round) {
      Span *block = large(300);
      page_heap::free(block);
      page_heap::release_all();
      std::vector<Span *> burst;
      for (int i = 0; i < 20; ++i) {
        burst.push_back(page_heap::allocate(PageCount{1}, SpanState::kObjects, i % 2 == 0 ? kOfOneRow : kOfTwoRows));
      }
      for (int i = 0; i < 20; ++i) {
        if (i % 10 == 7) {
          kept.push_back(burst[static_cast<size_t>(i)]);
        } else {
          page_heap::free(burst[static_cast<size_t>(i)]);
        }
      }
      if (kept.size() > 200) {
        page_heap::free(kept.front());
        kept.erase(kept.begin());
      }
    }
    walk_pages();
    EXPECT_LE(arena.end_page().value, 4 * kStepPages) << "of which 900 pages are needed at once";
    for (Span *span : kept) page_heap::free(span);
  });
}

// A large block beside what is left of a tract may have it, and then it is nobody's tract any more.
TEST(Tracts, ABlockGrowsIntoATract) {
  for (const uint32_t taken : {3u, 15u, 20u}) {
    in_own_heap([taken] {
      ASSERT_NE(large(40), nullptr);
      Span *first = page_heap::allocate(PageCount{1}, SpanState::kObjects, kOfOneRow);
      page_heap::free(first);
      Span *block = large(1);
      ASSERT_EQ(block->first, PageId{48}) << "where the span was";
      ASSERT_TRUE(page_heap::resize(block, PageCount{1 + taken}));
      walk_pages();
      Span *next = page_heap::allocate(PageCount{1}, SpanState::kObjects, kOfOneRow);
      EXPECT_EQ(next->first, PageId{64 + taken / 16 * 16}) << "a new tract";
      walk_pages();
    });
  }
}

// Runs that share an OS page of the maps, given back one after the other: with the last of them it goes.
TEST(Tracts, TheMapThatNeighboursShareGoesWithTheLast) {
  constexpr uint32_t kRegion = kRegionPages;
  for (const uint32_t each : {1u, 3u, 12u, 15u, 17u, 40u}) {
    in_own_heap([each] {
      Span *before = large(kRegion - 1);  // page 0 is nobody's
      std::vector<Span *> spans;
      for (uint32_t pages = 0; pages < 2 * kRegion; pages += each) spans.push_back(large(std::min(each, 2 * kRegion - pages)));
      Span *behind = large(kRegion);
      ASSERT_EQ(before->end(), PageId{kRegion});
      ASSERT_EQ(behind->first, PageId{3 * kRegion});
      uint8_t *const fine = arena.fine + (kRegion * kPageSize >> kOctetShift);
      constexpr size_t kBytes = 2 * kRegion * kPageSize >> kOctetShift;
      memset(fine, 0, kBytes);
      EXPECT_EQ(resident(address_of(fine), kBytes), kBytes / kOsPageSize);
      for (const size_t turn : {0u, 1u, 2u}) {
        for (size_t i = turn; i < spans.size(); i += 3) page_heap::free(spans[i]);
        page_heap::release_all();
      }
      EXPECT_EQ(resident(address_of(fine), kBytes), 0u) << "freed by " << each;
      walk_pages();
    });
  }
}

// The object map's bytes of a run are in many places: all whole OS pages of them go with it, and none of a neighbour's.
TEST(Tracts, TheMapOfWhatIsGivenBackGoesToo) {
  constexpr uint32_t kRegion = kRegionPages;
  for (const auto &[first, count] : {std::pair<uint32_t, uint32_t>{kRegion, kRegion}, {kRegion - 16, 3 * kRegion + 40}, {5, 40}, {17, 7},
                                     {3 * kRegion + 1, 2 * kRegion}, {16, 16}, {2 * kRegion + 32, 32}}) {
    in_own_heap([first = first, count = count] {
      Span *all = large(7 * kRegion);
      const uintptr_t start = arena.start + kPageSize, end = all->start() + all->bytes();
      for (uintptr_t at = start; at < end; at += kTinySize) *object_map::fine(at) = 3;
      arena_growth::release_maps(PageId{first}, PageCount{count});
      size_t zero = 0;
      for (uintptr_t at = start; at < end; at += kTinySize) {
        const uint32_t page = arena.page_of(at).value;
        if (*object_map::fine(at) == 0) {
          ++zero;
          ASSERT_TRUE(first <= page && page < first + count) << page;
        }
        // An OS page has the bytes of 16 pages, of one row or, where a whole region goes, of the next ones too.
        if (first <= page / 16 * 16 && page / 16 * 16 + 16 <= first + count) {
          ASSERT_EQ(*object_map::fine(at), 0) << page;
        }
        *object_map::fine(at) = 0;
      }
      EXPECT_EQ(zero % kOsPageSize, 0u);
      page_heap::free(all);
    });
  }
}

}  // namespace
}  // namespace warren
