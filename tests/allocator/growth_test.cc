// What goes back for what comes, allocator/growth.h, and free runs used together (page_heap.cc). Run as a test of its own; linked so that
// madvise passes through here (ld --wrap).
// Invariant: what another thread could do while the kernel works is done in the middle of the call; each test has an arena of its own.
#include "allocator/growth.h"

#include "allocator/base/options.h"
#include "allocator/fork.h"
#include "allocator/large.h"
#include "allocator/page_heap.h"
#include "tests/allocator/own_heap.h"

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

namespace warren {
namespace {

std::function<void()> during_madvise;  // once, before the next call that gives memory back
bool madvise_is_refused = false;
int refusals = 0;

}  // namespace
}  // namespace warren

extern "C" {
long __real__ZN6warren8os_calls7madviseEPvmi(void *, size_t, int);

long __wrap__ZN6warren8os_calls7madviseEPvmi(void *address, size_t bytes, int advice) {
  if (advice == MADV_DONTNEED && warren::during_madvise) {
    const auto body = std::exchange(warren::during_madvise, nullptr);
    body();
  }
  if (advice == MADV_DONTNEED && warren::madvise_is_refused) {
    ++warren::refusals;
    return -EINVAL;
  }
  return __real__ZN6warren8os_calls7madviseEPvmi(address, bytes, advice);
}
}

namespace warren {
namespace {

// --- arithmetic ---

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kBegin = 1000 * kSecond;

TEST(Growth, OnlyWhatIsMoreThanEverIsAPeak) {
  Growth growth;
  EXPECT_TRUE(growth.note(100, 0));
  EXPECT_FALSE(growth.note(100, 0));
  EXPECT_FALSE(growth.note(20, 80)) << "it does not matter which of it is in use";
  EXPECT_TRUE(growth.note(20, 81));
  EXPECT_FALSE(growth.note(101, 0));
}

TEST(Growth, AsMuchGoesAsCame) {
  Growth growth;
  growth.note(1000, 0);
  ASSERT_TRUE(growth.note(900, 300));
  EXPECT_EQ(growth.give_back(300, kBegin), 200u);
  EXPECT_FALSE(growth.note(900, 100)) << "the peak is what it was";
  EXPECT_TRUE(growth.note(901, 100));
}

TEST(Growth, FewPagesTakeSomeMoreAlong) {
  Growth growth;
  growth.note(1000, 0);
  growth.note(900, 101);
  EXPECT_EQ(growth.give_back(101, kBegin), Growth::kLeast);
  EXPECT_FALSE(growth.note(1000, 0)) << "but the peak is no lower for it";
  growth.note(998, 3);
  EXPECT_EQ(growth.give_back(3, kBegin), 3u) << "all there is";
}

TEST(Growth, SmallHeapsGrow) {
  Growth growth;
  growth.note(Growth::kFrom - 1, 500);
  EXPECT_FALSE(growth.may_give_back(500, 0));
  growth.note(Growth::kFrom, 500);
  EXPECT_TRUE(growth.may_give_back(500, 0));
  EXPECT_FALSE(growth.may_give_back(0, 0));
}

TEST(Growth, NoMoreIsTornThanWasEverInUse) {
  Growth growth;
  growth.note(5000, 0);
  growth.note(1000, 5000);
  EXPECT_FALSE(growth.may_give_back(5000, Growth::kMostLoose + 5001));
  EXPECT_TRUE(growth.may_give_back(5000, Growth::kMostLoose + 5000));
}

TEST(Growth, PagesAreEarnedByTime) {
  Growth growth;
  uint64_t now = kBegin, resident = 100'000;
  const auto wanted = [&](uint64_t pages) {
    growth.note(resident, pages);
    const uint64_t given = growth.give_back(pages, now);
    resident += pages;
    return given;
  };
  wanted(0);
  EXPECT_EQ(wanted(50'000), Growth::kSavedAtFirst);
  EXPECT_EQ(wanted(50'000), 0u) << "all is spent";
  for (int i = 0; i < 30; ++i) {
    now += Growth::kNanosecondsPerPage / 10;
    EXPECT_EQ(wanted(50'000), i % 10 == 9 ? 1u : 0u) << "parts of a page add up: " << i;
  }
  now += 1000 * Growth::kNanosecondsPerPage;
  EXPECT_EQ(wanted(50'000), 1000u);
  now += 3600 * kSecond;
  EXPECT_EQ(wanted(50'000), Growth::kMostSaved) << "an hour is not saved up";
  now -= 5 * kSecond;
  EXPECT_EQ(wanted(50'000), 0u) << "a clock that is set back";
}

TEST(Growth, AfterARefusalNothingIsTriedForAWhile) {
  Growth growth;
  growth.note(1000, 1000);
  growth.refused(kBegin);
  growth.note(1000, 2000);
  EXPECT_EQ(growth.give_back(2000, kBegin + Growth::kRefusedFor), 0u);
  growth.note(1000, 3000);
  EXPECT_EQ(growth.give_back(3000, kBegin + Growth::kRefusedFor + 10 * Growth::kNanosecondsPerPage), 10u);
}

// --- in the page heap ---

Span *large(uint32_t pages) { return page_heap::allocate(PageCount{pages}, SpanState::kLarge, SizeClass{0}); }

uint64_t warm_pages() {
  const page_heap::Stats stats = page_heap::stats();
  return stats.free_pages - stats.released_pages;
}

// A free run of `pages` that was written to, with a page in use behind it.
PageId dirty_run(uint32_t pages) {
  Span *span = large(pages);
  const PageId first = span->first;
  large(1);
  memset(at_address<void>(span->start()), 1, span->bytes());
  page_heap::free(span);
  return first;
}

TEST(PageHeapGrowth, WhatIsTooShortGoesForWhatIsLonger) {
  in_own_heap([] {
    const PageId before = dirty_run(300);
    Span *next = large(301);
    EXPECT_EQ(warm_pages(), 0u);
    EXPECT_EQ(resident(arena.address(before), PageCount{300}.bytes()), 0u);
    EXPECT_TRUE(next->zero);
    EXPECT_EQ(page_heap::stats().scavenged_pages, 300u);
  });
}

TEST(PageHeapGrowth, NotMoreThanComes) {
  in_own_heap([] {
    dirty_run(300);
    large(150);  // of the 300
    EXPECT_EQ(warm_pages(), 150u);
    large(151);
    EXPECT_EQ(warm_pages(), 0u);
  });
  in_own_heap([] {
    Span *span = large(400);
    large(1);
    page_heap::free(span);
    Span *aligned = page_heap::allocate_aligned(PageCount{100}, 512 * kPageSize);
    ASSERT_NE(aligned, nullptr);
    EXPECT_EQ(warm_pages(), 300u) << "the end of it went";
    EXPECT_EQ(page_heap::describe(span->first).span_bytes, PageCount{300}.bytes());
    walk_pages();
  });
}

TEST(PageHeapGrowth, WhatComesByMovingNeedsNoMemory) {
  in_own_heap([] {
    Span *from = large(400);
    dirty_run(300);
    Span *to = page_heap::allocate(PageCount{500}, SpanState::kLarge, SizeClass{0}, PageCount{400});
    ASSERT_NE(to, nullptr);
    EXPECT_EQ(warm_pages(), 200u) << "for 100 new ones";
    ASSERT_EQ(page_heap::move(from, to, PageCount{400}), page_heap::MoveResult::kMoved);
    large(450);
    EXPECT_EQ(warm_pages(), 0u);
  });
}

TEST(PageHeapGrowth, OffMeansNothingGoes) {
  in_own_heap([] {
    options.scavenge_delay = kNoLimit;
    dirty_run(300);
    large(301);
    EXPECT_EQ(warm_pages(), 300u);
  });
}

TEST(PageHeapGrowth, LockedPagesStayAndAreLeftInPeace) {
  in_own_heap([] {
    const PageId before = dirty_run(300);
    madvise_is_refused = true;
    large(301);
    EXPECT_EQ(refusals, 1);
    EXPECT_EQ(warm_pages(), 300u);
    for (uint32_t pages = 302; pages < 320; ++pages) large(pages);
    EXPECT_EQ(refusals, 1);
    madvise_is_refused = false;
    Span *again = large(300);
    EXPECT_EQ(again->first, before);
    EXPECT_EQ(*at_address<char>(again->start()), 1);
  });
}

// While the kernel works another thread grows as well, and a signal handler on this one might.
TEST(PageHeapGrowth, OneAtATime) {
  in_own_heap([] {
    const PageId before = dirty_run(300);
    bool was_called = false;
    during_madvise = [&] {
      was_called = true;
      EXPECT_EQ(page_heap::describe(before + PageCount{299}).state, SpanState::kReleasing);
      std::thread([] { EXPECT_NE(large(700), nullptr); }).join();
    };
    EXPECT_NE(large(301), nullptr);
    EXPECT_TRUE(was_called);
    EXPECT_EQ(warm_pages(), 0u);
  });
}

// The part that another thread is giving back is what an allocation lacks that cannot grow.
TEST(PageHeapGrowth, AtALimitOthersAreWaitedFor) {
  in_own_process([] {
    options.arena = kMinArenaSize;
    ASSERT_TRUE(heap::set_up());
    ASSERT_NE(large(4000), nullptr);
    dirty_run(3000);
    std::thread other;
    during_madvise = [&] {
      other = std::thread([] { EXPECT_NE(large(3000), nullptr); });
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // so that it fails if it does not wait
    };
    EXPECT_NE(page_heap::scavenge(PageCount{100}).value, 0u);
    other.join();
  });
}

TEST(PageHeapGrowth, AForkedChildTakesBackWhatWasOnItsWay) {
  in_own_heap([] {
    fork_handlers::install();
    const PageId before = dirty_run(300);
    bool was_called = false;
    during_madvise = [&] {
      was_called = true;
      std::thread([&] {
        in_own_process([&] {
          EXPECT_EQ(page_heap::describe(before).state, SpanState::kFree);
          walk_pages();
          Span *all = large(300);
          EXPECT_EQ(all->first, before);
          EXPECT_FALSE(all->zero) << "what it contains is unknown";
        });
      }).join();
    };
    large(301);
    EXPECT_TRUE(was_called);
  });
}

// --- runs used together ---

// Alternately warm and given back, from the first page on; the last is followed by a page in use.
PageId runs_in_turn(const std::vector<uint32_t> &lengths) {
  options.scavenge_delay = kNoLimit;
  std::vector<Span *> spans;
  for (const uint32_t pages : lengths) spans.push_back(large(pages));
  large(1);
  for (Span *span : spans) memset(at_address<void>(span->start()), 1, span->bytes());
  const PageId first = spans[0]->first;
  for (size_t i = 1; i < spans.size(); i += 2) page_heap::free(spans[i]);
  page_heap::release_all();
  for (size_t i = 0; i < spans.size(); i += 2) page_heap::free(spans[i]);
  return first;
}

void expect_zero_behind(const Span *span, uint32_t dirty) {
  EXPECT_EQ(span->dirty_bytes(), PageCount{dirty}.bytes());
  for (size_t at = span->dirty_bytes(); at < span->bytes(); at += 64) ASSERT_EQ(*at_address<char>(span->start() + at), 0);
}

TEST(JoinedRuns, AWarmOneWithAllBehindIt) {
  in_own_heap([] {
    const PageId first = runs_in_turn({40, 30, 20, 10});
    Span *span = large(95);
    EXPECT_EQ(span->first, first);
    EXPECT_EQ(span->count, PageCount{95});
    EXPECT_FALSE(span->zero);
    expect_zero_behind(span, 90);
    EXPECT_EQ(warm_pages(), 0u);
    walk_pages();
    EXPECT_EQ(page_heap::describe(first + PageCount{95}).span_bytes, 5 * kPageSize) << "what is left was not touched";
    EXPECT_TRUE(large(5)->zero);
  });
}

TEST(JoinedRuns, WhatIsBeforeItWhereThatIsNotEnough) {
  in_own_heap([] {
    const PageId first = runs_in_turn({10, 30, 40, 5});
    Span *span = large(60);
    EXPECT_EQ(span->first, first + PageCount{25}) << "the last 15 of the 30 are used";
    expect_zero_behind(span, 55);
    walk_pages();
    EXPECT_EQ(warm_pages(), 10u);
    Span *rest = large(25);
    EXPECT_EQ(rest->first, first);
    expect_zero_behind(rest, 10);
  });
}

TEST(JoinedRuns, TheLastWarmPageEndsWhatIsDirty) {
  in_own_heap([] {
    runs_in_turn({40, 30, 20});
    Span *span = large(90);
    expect_zero_behind(span, 90);
    const large::Allocated block = large::allocate(PageCount{300}.bytes(), kPageSize);
    EXPECT_EQ(block.dirty_bytes, 0u);
  });
}

TEST(JoinedRuns, ABlockGrowsIntoSeveral) {
  in_own_heap([] {
    options.scavenge_delay = kNoLimit;
    Span *block = large(10);
    const PageId first = runs_in_turn({20, 30, 20});
    ASSERT_EQ(first, block->end());
    EXPECT_FALSE(page_heap::resize(block, PageCount{81}));
    walk_pages();
    ASSERT_TRUE(page_heap::resize(block, PageCount{55}));
    EXPECT_EQ(block->count, PageCount{55});
    walk_pages();
    EXPECT_EQ(warm_pages(), 20u);
    EXPECT_EQ(page_heap::stats().large_pages, 56u);
    ASSERT_TRUE(page_heap::resize(block, PageCount{80}));
    walk_pages();
  });
}

TEST(JoinedRuns, NotMoreThanAFew) {
  in_own_heap([] {
    std::vector<uint32_t> lengths(200, 3);
    lengths[0] = 40;  // long enough to be worth it
    runs_in_turn(lengths);
    Span *span = large(40 + 3 * 70);
    EXPECT_GE(span->first.value + span->count.value, 640u) << "behind them all";
    EXPECT_TRUE(span->zero);
  });
}

// --- all at once ---

TEST(PageHeapGrowth, ManyThreadsGrowAndShrink) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  in_own_heap([seed] {
    std::vector<std::thread> threads;
    for (unsigned number = 0; number < 4; ++number) {
      threads.emplace_back([number, seed] {
        std::mt19937 random(seed + number);
        std::vector<Span *> owned(20);
        for (int step = 0; step < 4000; ++step) {
          Span *&span = owned[random() % owned.size()];
          if (span != nullptr) {
            auto *words = at_address<uint64_t>(span->start());
            ASSERT_EQ(words[0], address_of(span) + number);
            ASSERT_EQ(words[span->bytes() / 8 - 1], address_of(span) + number);
          }
          const auto pages = static_cast<uint32_t>(1 + random() % (random() % 8 == 0 ? 800 : 60));
          if (span == nullptr || !page_heap::resize(span, PageCount{pages})) {
            if (span != nullptr) page_heap::free(span);
            span = large(pages);
            ASSERT_NE(span, nullptr);
          }
          auto *words = at_address<uint64_t>(span->start());
          words[0] = words[span->bytes() / 8 - 1] = address_of(span) + number;
        }
        for (Span *span : owned) {
          if (span != nullptr) page_heap::free(span);
        }
      });
    }
    for (std::thread &thread : threads) thread.join();
    EXPECT_NE(page_heap::stats().scavenged_pages, 0u);
  });
}

}  // namespace
}  // namespace warren
