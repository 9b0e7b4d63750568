// Walks every page of the arena and checks what the page heap promises of them.
// Run by the tests of the heap at points where no other thread is inside it. Invariant of what it checks: each grown
// page but page 0 lies in exactly one span, the page map names the span at its ends (everywhere for spans of objects),
// neighbouring free spans differ in `released` or one is what is left of a tract, of which there are two at most, and the statistics are
// the sums of what the walk sees.
#pragma once

#include "allocator/page_heap.h"
#include "allocator/page_map.h"

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <vector>

namespace warren {

struct WalkedSpan {
  uint32_t first;
  uint32_t count;
  SpanState state;
  bool released;
  bool zero;
  auto operator<=>(const WalkedSpan &) const = default;
};

// All spans in the order of their addresses.
inline std::vector<WalkedSpan> walk_pages() {
  std::vector<WalkedSpan> spans;
  const uint32_t end = arena.end_page().value;
  uint64_t free = 0, released = 0, large = 0, holes = 0;
  unsigned in_tract = 0;
  bool apart = false;  // the span before is left of a tract
  if (end != 0 && page_map::at(PageId{0}) != nullptr) ADD_FAILURE() << "page 0 has a span";
  for (uint32_t page = 1; page < end;) {
    const Span *span = page_map::at(PageId{page});
    if (span == nullptr) {
      ADD_FAILURE() << "page " << page << " of " << end << " has no span";
      return spans;
    }
    if (span->first.value != page || span->count.value == 0 || span->end().value > end) {
      ADD_FAILURE() << "page " << page << " is in a span of " << span->count.value << " pages from "
                    << span->first.value;
      return spans;
    }
    EXPECT_EQ(page_map::at(span->last()), span) << "last page of the span at " << page;
    if (span->state == SpanState::kObjects) {
      for (uint32_t inner = page; inner < span->end().value; ++inner) EXPECT_EQ(page_map::at(PageId{inner}), span);
    } else {
      EXPECT_EQ(span->size_class.value, 0u) << "span at " << page;
    }
    if (span->state != SpanState::kFree) {
      EXPECT_FALSE(span->released) << "span at " << page;
    }
    if (span->released) {
      EXPECT_TRUE(span->zero) << "span at " << page;
    }
    const bool left_of_tract = span->state == SpanState::kFree && span->in_tract;
    in_tract += left_of_tract;
    if (left_of_tract) {
      EXPECT_TRUE(span->released) << "span at " << page;
    }
    if (!spans.empty() && spans.back().state == SpanState::kFree && span->state == SpanState::kFree && !apart && !left_of_tract) {
      EXPECT_NE(spans.back().released, span->released) << "not merged at page " << page;
    }
    apart = left_of_tract;
    if (span->state == SpanState::kFree) free += span->count.value;
    if (span->state == SpanState::kFree && span->released) released += span->count.value;
    if (span->state == SpanState::kLarge) large += span->count.value;
    if (span->state == SpanState::kHole) holes += span->count.value;
    spans.push_back({page, span->count.value, span->state, span->released, span->zero});
    page = span->end().value;
  }
  const page_heap::Stats stats = page_heap::stats();
  EXPECT_EQ(stats.grown_pages, end - holes);
  EXPECT_EQ(stats.free_pages, free);
  EXPECT_EQ(stats.released_pages, released);
  EXPECT_EQ(stats.large_pages, large);
  EXPECT_EQ(stats.spans, spans.size());
  EXPECT_LE(in_tract, 2u);
  return spans;
}

// How many OS pages of the range have memory behind them.
inline size_t resident(uintptr_t start, size_t bytes) {
  std::vector<unsigned char> pages(bytes / kOsPageSize);
  EXPECT_EQ(mincore(at_address<void>(start), bytes, pages.data()), 0);
  size_t count = 0;
  for (const unsigned char page : pages) count += page & 1;
  return count;
}

}  // namespace warren
