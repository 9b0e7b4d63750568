// Giving memory back: allocator/scavenger.h, and the page heap while a run is on its way to the kernel.
// Run as a test of its own; linked so that madvise and scavenger::wake() pass through here (ld --wrap).
// Invariant: what another thread could do while the kernel works is done in the middle of the call, so that nothing
// depends on who is quicker.
#include "allocator/scavenger.h"

#include "allocator/base/options.h"
#include "allocator/fork.h"
#include "allocator/heap.h"
#include "allocator/page_heap.h"
#include "allocator/stats.h"
#include "tests/allocator/own_heap.h"
#include "tests/allocator/tasks.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <sys/mman.h>
#include <thread>

namespace warren {
namespace {

std::function<void()> during_madvise;  // once, before the next call that gives memory back
bool madvise_is_refused = false;
std::atomic<int> wakes{0};
bool wakes_are_real = false;

}  // namespace
}  // namespace warren

extern "C" {
long __real__ZN6warren8os_calls7madviseEPvmi(void *, size_t, int);
void __real__ZN6warren9scavenger4wakeEv();

long __wrap__ZN6warren8os_calls7madviseEPvmi(void *address, size_t bytes, int advice) {
  if (advice == MADV_DONTNEED && warren::during_madvise) {
    const auto body = std::exchange(warren::during_madvise, nullptr);
    body();
  }
  if (warren::madvise_is_refused) return -EINVAL;
  return __real__ZN6warren8os_calls7madviseEPvmi(address, bytes, advice);
}

void __wrap__ZN6warren9scavenger4wakeEv() {
  warren::wakes++;
  if (warren::wakes_are_real) __real__ZN6warren9scavenger4wakeEv();
}
}

namespace warren {
namespace {

using scavenger::excess;
using scavenger::LeastOf;
using scavenger::ProcessorBudget;

// --- arithmetic ---

TEST(Excess, ATenthOfTheUseAndHalfAMebibyteStay) {
  constexpr uint64_t kLittle = (size_t{512} << 10) / kPageSize;
  EXPECT_EQ(excess(0, 0), 0u);
  EXPECT_EQ(excess(kLittle, 0), 0u);
  EXPECT_EQ(excess(kLittle + 1, 0), 1u);
  EXPECT_EQ(excess(1000, 1000), 1000 - 100 - kLittle);
  EXPECT_EQ(excess(1000, 1009), 1000 - 100 - kLittle) << "rounded down";
  EXPECT_EQ(excess(100 + kLittle, 1000), 0u);
  EXPECT_EQ(excess(5, 1'000'000), 0u);
  for (uint64_t least = 0; least < 3000; least += 7) {
    for (uint64_t used = 0; used < 20000; used += 1013) {
      EXPECT_LE(excess(least, used), least);
      EXPECT_LE(excess(least, used + 1), excess(least, used));
      EXPECT_LE(excess(least, used), excess(least + 1, used));
    }
  }
}

TEST(Excess, HugeNumbers) {
  constexpr uint64_t kHuge = ~uint64_t{0};
  EXPECT_EQ(excess(kHuge, 0), kHuge - 64);
  EXPECT_EQ(excess(kHuge, kHuge), kHuge - 64 - kHuge / 10);
  EXPECT_EQ(excess(0, kHuge), 0u);
}

TEST(LeastOf, NothingBeforeAWholeDelayWasWatched) {
  LeastOf looks;
  EXPECT_EQ(looks.least(), 0u) << "no look yet";
  for (unsigned look = 1; look < LeastOf::kLooks; ++look) {
    looks.note(1000);
    EXPECT_EQ(looks.least(), 0u) << look;
  }
  looks.note(900);
  EXPECT_EQ(looks.least(), 900u);
}

TEST(LeastOf, ALowCountsForADelayAndNoLonger) {
  LeastOf looks;
  for (unsigned look = 0; look < LeastOf::kLooks; ++look) looks.note(500);
  looks.note(20);
  for (unsigned look = 1; look < LeastOf::kLooks; ++look) {
    EXPECT_EQ(looks.least(), 20u);
    looks.note(500);
  }
  EXPECT_EQ(looks.least(), 20u);
  looks.note(500);
  EXPECT_EQ(looks.least(), 500u);
}

TEST(LeastOf, IsTheLeastOfTheLastFew) {
  LeastOf looks;
  uint64_t seen[1000];
  uint64_t state = 88172645463325252u;
  for (unsigned look = 0; look < 1000; ++look) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    looks.note(seen[look] = state);
    if (look + 1 < LeastOf::kLooks) continue;
    uint64_t least = ~uint64_t{0};
    for (unsigned back = 0; back < LeastOf::kLooks; ++back) least = std::min(least, seen[look - back]);
    ASSERT_EQ(looks.least(), least);
  }
}

TEST(ProcessorBudget, AStartAndOnePercent) {
  constexpr uint64_t kBegan = 123'456'789;
  constexpr uint64_t kSecond = 1'000'000'000;
  ProcessorBudget budget(kBegan);
  EXPECT_EQ(budget.spent(), 0u);
  EXPECT_EQ(budget.wait(kBegan), 0u);
  budget.spend(ProcessorBudget::kStart);
  EXPECT_EQ(budget.wait(kBegan), 0u) << "just the start";
  budget.spend(1);
  EXPECT_EQ(budget.spent(), ProcessorBudget::kStart + 1);
  EXPECT_EQ(budget.wait(kBegan), 100u);
  EXPECT_EQ(budget.wait(kBegan + 99), 100u) << "not yet a nanosecond more";
  EXPECT_EQ(budget.wait(kBegan + 100), 0u);
  budget.spend(kSecond - 1);
  EXPECT_EQ(budget.wait(kBegan), 100 * kSecond);
  EXPECT_EQ(budget.wait(kBegan + 40 * kSecond), 60 * kSecond);
  EXPECT_EQ(budget.wait(kBegan + 100 * kSecond), 0u);
}

// A century, and a process whose clock began anywhere.
TEST(ProcessorBudget, AfterTheWaitMoreMayBeSpent) {
  constexpr uint64_t kYear = uint64_t{365} * 24 * 3600 * 1'000'000'000;
  for (const uint64_t began : {uint64_t{0}, uint64_t{1}, kYear, 200 * kYear}) {
    for (const uint64_t elapsed : {uint64_t{0}, uint64_t{1}, uint64_t{99}, uint64_t{12345678901}, 100 * kYear}) {
      for (const uint64_t over : {uint64_t{1}, uint64_t{77}, uint64_t{1'000'000'000}, kYear}) {
        ProcessorBudget budget(began);
        const uint64_t now = began + elapsed;
        budget.spend(ProcessorBudget::kStart + elapsed / ProcessorBudget::kShare);
        ASSERT_EQ(budget.wait(now), 0u);
        budget.spend(over);
        const uint64_t wait = budget.wait(now);
        ASSERT_EQ(wait, over * ProcessorBudget::kShare);
        ASSERT_EQ(budget.wait(now + wait), 0u);
        ASSERT_GT(budget.wait(now + wait - ProcessorBudget::kShare), 0u);
      }
    }
  }
}

// --- when it is woken ---

constexpr uint32_t kMark = (size_t{32} << 20) >> kPageShift;

Span *large(uint32_t pages) { return page_heap::allocate(PageCount{pages}, SpanState::kLarge, SizeClass{0}); }

char *memory(const Span *span) { return at_address<char>(span->start()); }

// A run with a page in use behind it, never touched: what counts is that it may have been.
Span *run_apart(uint32_t pages) {
  Span *span = large(pages);
  EXPECT_NE(large(1), nullptr);
  return span;
}

TEST(Wake, OnceAtTheMark) {
  in_own_heap([] {
    Span *nearly = run_apart(kMark - 1), *page = run_apart(1), *more = run_apart(5 * kMark);
    page_heap::free(nearly);
    EXPECT_EQ(wakes, 0);
    page_heap::free(page);
    EXPECT_EQ(wakes, 1);
    page_heap::free(more);
    EXPECT_EQ(wakes, 1) << "not again before it is armed";
  });
}

TEST(Wake, ABlockThatShrinksWakesAsWell) {
  in_own_heap([] {
    Span *block = run_apart(kMark + 10);
    ASSERT_TRUE(page_heap::resize(block, PageCount{11}));
    EXPECT_EQ(wakes, 0);
    ASSERT_TRUE(page_heap::resize(block, PageCount{10}));
    EXPECT_EQ(wakes, 1);
  });
}

// The mark after a way to ask, found out by freeing page after page.
uint32_t pages_until_woken(Span *const *pages, size_t count) {
  const int before = wakes;
  for (uint32_t freed = 0; freed < count; ++freed) {
    page_heap::free(pages[freed]);
    if (wakes != before) return freed + 1;
  }
  return 0;
}

TEST(Wake, Arm) {
  in_own_heap([] {
    constexpr uint32_t kCount = 2 * kMark;
    static Span *pages[kCount];
    for (Span *&page : pages) page = large(1);
    Span *keep = large(1);
    const uint64_t used = page_heap::take_warm_memory().used_pages;
    EXPECT_EQ(used, kCount + 2);
    page_heap::arm();
    EXPECT_EQ(pages_until_woken(pages, kCount), kMark + used / 8);
    (void)keep;
  });
}

TEST(Wake, ArmLaterWaitsForTwiceOfWhatIsWarm) {
  in_own_heap([] {
    constexpr uint32_t kCount = 4 * kMark;
    static Span *pages[kCount];
    for (Span *&page : pages) page = large(1);
    Span *warm = run_apart(kMark);
    page_heap::free(warm);
    EXPECT_EQ(wakes, 1);
    const uint64_t used = page_heap::take_warm_memory().used_pages;
    page_heap::arm_later();
    const uint64_t mark = std::max<uint64_t>(2 * kMark, kMark + used / 8);
    EXPECT_EQ(pages_until_woken(pages, kCount), mark - kMark);
  });
}

TEST(Wake, ArmLaterWithLittleWarmIsTheUsualMark) {
  in_own_heap([] {
    Span *warm = run_apart(10), *more = run_apart(kMark - 11), *last = run_apart(2 * kMark);
    page_heap::free(warm);
    page_heap::arm_later();
    page_heap::free(more);
    EXPECT_EQ(wakes, 0);
    page_heap::free(last);
    EXPECT_EQ(wakes, 1);
  });
}

TEST(Wake, ArmWhenLittleIsWarm) {
  in_own_heap([] {
    Span *warm = run_apart(kMark), *use = run_apart(1000), *more = run_apart(4 * kMark);
    page_heap::free(warm);
    EXPECT_EQ(wakes, 1);
    const uint64_t used = page_heap::take_warm_memory().used_pages;
    EXPECT_FALSE(page_heap::arm_when_little_is_warm(0, 10));
    EXPECT_FALSE(page_heap::arm_when_little_is_warm(kMark - used / 10 - 1, 10));
    page_heap::free(more);
    EXPECT_EQ(wakes, 1) << "it was not armed";
    page_heap::release_all();
    Span *again = run_apart(kMark);
    EXPECT_TRUE(page_heap::arm_when_little_is_warm(0, 10));
    page_heap::free(again);
    EXPECT_EQ(wakes, 1) << "an eighth of the use lies on top of the mark";
    page_heap::free(use);
  });
}

TEST(Wake, ArmWhenLittleIsWarmAtItsBorder) {
  in_own_heap([] {
    Span *warm = run_apart(500);
    page_heap::free(warm);
    const uint64_t used = page_heap::take_warm_memory().used_pages;
    EXPECT_FALSE(page_heap::arm_when_little_is_warm(499 - used, 1));
    EXPECT_TRUE(page_heap::arm_when_little_is_warm(500 - used, 1));
  });
}

// --- in the middle of giving a run back ---

struct Dirty {
  explicit Dirty(uint32_t pages, char byte = 0x55) : span(large(pages)), guard(large(1)) {
    first = span->first;
    memset(memory(span), byte, span->bytes());
    memset(memory(guard), 0x66, guard->bytes());
  }
  Span *span, *guard;
  PageId first;
};

TEST(WhileARunIsReleased, ItIsNobodys) {
  in_own_heap([] {
    const Dirty run(100);
    page_heap::free(run.span);
    bool ran = false;
    during_madvise = [&] {
      ran = true;
      const page_heap::PageState state = page_heap::describe(PageId{run.first.value + 99});
      EXPECT_TRUE(state.known);
      EXPECT_EQ(state.state, SpanState::kReleasing);
      EXPECT_EQ(state.span_bytes, 40 * kPageSize);
      EXPECT_EQ(page_heap::describe(run.first).state, SpanState::kFree);
      EXPECT_EQ(page_heap::describe(run.first).span_bytes, 60 * kPageSize);
      const page_heap::WarmMemory look = page_heap::take_warm_memory();
      EXPECT_EQ(look.pages, 60u);
      EXPECT_EQ(look.used_pages, 2u) << "the guard and page 0; not what is on its way";
      const page_heap::Stats stats = page_heap::stats();
      EXPECT_EQ(stats.free_pages, stats.grown_pages - 2);
      EXPECT_EQ(stats.scavenged_pages, 0u);
    };
    EXPECT_EQ(page_heap::scavenge(PageCount{40}), PageCount{40});
    EXPECT_TRUE(ran);
    EXPECT_EQ(page_heap::take_warm_memory().pages, 60u);
  });
}

// Its neighbours come and go on both sides, and do not merge with it; it merges with what it finds at the end.
TEST(WhileARunIsReleased, NeighboursComeAndGo) {
  for (const bool refused : {false, true}) {
    in_own_heap([refused] {
      Span *before = large(50), *middle = large(30), *after = large(20), *guard = large(1);
      const PageId first = before->first;
      memset(memory(middle), 0x33, middle->bytes());
      page_heap::free(middle);
      during_madvise = [&] {
        page_heap::free(before);
        page_heap::free(after);
        EXPECT_EQ(page_heap::describe(first).span_bytes, 50 * kPageSize);
        EXPECT_EQ(page_heap::describe(first + PageCount{80}).span_bytes, 20 * kPageSize);
        Span *again = large(50);
        EXPECT_EQ(again->first, first);
        page_heap::free(again);
        madvise_is_refused = refused;
      };
      EXPECT_EQ(page_heap::scavenge(PageCount{100}), PageCount{refused ? 0u : 30u});
      madvise_is_refused = false;
      walk_pages();
      EXPECT_EQ(page_heap::describe(first).span_bytes, (refused ? 100 : 50) * kPageSize);
      EXPECT_EQ(page_heap::take_warm_memory().pages, refused ? 100u : 70u);
      (void)guard;
    });
  }
}

TEST(WhileARunIsReleased, ABlockBeforeItCannotGrowIntoIt) {
  in_own_heap([] {
    Span *block = large(10);
    const Dirty run(30);
    page_heap::free(run.span);
    during_madvise = [&] { EXPECT_FALSE(page_heap::resize(block, PageCount{20})); };
    EXPECT_EQ(page_heap::scavenge(PageCount{100}), PageCount{30});
    EXPECT_TRUE(page_heap::resize(block, PageCount{20})) << "now it can";
    EXPECT_EQ(memory(block)[19 * kPageSize], 0);
  });
}

TEST(WhileARunIsReleased, AllocationsGetOtherPages) {
  in_own_heap([] {
    const Dirty run(300);
    page_heap::free(run.span);
    std::vector<Span *> taken;
    during_madvise = [&] {
      const page_heap::PageState releasing = page_heap::describe(PageId{run.first.value + 299});
      ASSERT_EQ(releasing.state, SpanState::kReleasing);
      for (uint32_t pages = 1; pages < 400; pages += 13) {
        Span *span = large(pages);
        ASSERT_NE(span, nullptr);
        memset(memory(span), static_cast<int>(pages & 0x7f), span->bytes());
        EXPECT_TRUE(span->start() >= releasing.span_start + releasing.span_bytes ||
                    span->start() + span->bytes() <= releasing.span_start)
            << pages;
        taken.push_back(span);
      }
      page_heap::release_all();
    };
    EXPECT_NE(page_heap::scavenge(PageCount{200}), PageCount{0});
    uint32_t pages = 1;
    for (const Span *span : taken) {
      for (size_t at = 0; at < span->bytes(); at += 64) ASSERT_EQ(memory(span)[at], static_cast<char>(pages & 0x7f));
      pages += 13;
    }
  });
}

void *take(size_t size) { return allocate<allocate_slow>(size); }

void double_free_during_release() {
  heap::set_up();
  void *block = take(1 << 20);
  take(1 << 20);
  memset(block, 1, 1 << 20);
  release_slow(block, "free");
  during_madvise = [block] { release_slow(block, "free"); };
  page_heap::scavenge(PageCount{128});
}

TEST(WhileARunIsReleasedDeathTest, ASecondFreeIsReported) {
  EXPECT_EXIT(double_free_during_release(), ::testing::KilledBySignal(SIGABRT),
              "^warren: fatal error: double free: free\\(0x[0-9a-f]+\\): ");
}

void double_free_after_release(size_t size) {
  heap::set_up();
  std::vector<void *> blocks;
  for (size_t bytes = 0; bytes < size_t{4} << 20; bytes += size) blocks.push_back(take(size));
  for (void *block : blocks) release_slow(block, "free");
  release_free_memory();  // out of the cache
  while (page_heap::scavenge(PageCount{256}).value != 0) {
  }
  release_slow(blocks[blocks.size() / 2], "free");
}

TEST(ScavengedBlocksDeathTest, ASecondFreeIsReported) {
  for (const size_t size : {size_t{16}, size_t{1000}, size_t{5000}, size_t{32768}, size_t{100000}, size_t{3} << 20}) {
    EXPECT_EXIT(double_free_after_release(size), ::testing::KilledBySignal(SIGABRT),
                "^warren: fatal error: double free: free\\(0x[0-9a-f]+\\): ")
        << size;
  }
}

// --- fork in the middle ---

TEST(WhileARunIsReleased, AForkedChildTakesItBack) {
  in_own_heap([] {
    fork_handlers::install();
    const Dirty run(200);
    page_heap::free(run.span);
    during_madvise = [&] {
      // Another thread forks, as far as the scavenger's is concerned.
      std::thread([&] {
        in_own_process([&] {
          const page_heap::PageState state = page_heap::describe(run.first);
          EXPECT_EQ(state.state, SpanState::kFree);
          EXPECT_EQ(state.span_bytes, 200 * kPageSize) << "in one piece again";
          walk_pages();
          Span *all = large(200);
          EXPECT_EQ(all->first, run.first);
          EXPECT_FALSE(all->zero) << "what it contains is unknown";
          page_heap::free(all);
          EXPECT_NE(page_heap::scavenge(PageCount{200}).value, 0u) << "the child has a scavenger of its own";
          page_heap::release_all();
          walk_pages();
        });
      }).join();
    };
    EXPECT_EQ(page_heap::scavenge(PageCount{100}), PageCount{100});
    EXPECT_EQ(page_heap::take_warm_memory().pages, 100u);
  });
}

// A signal handler interrupts a free that does the scavenger's work, and forks: both processes go on with it.
TEST(WhileARunIsReleased, TheReleasingThreadItselfForks) {
  in_own_heap([] {
    fork_handlers::install();
    const Dirty run(200);
    page_heap::free(run.span);
    pid_t child = -1;
    during_madvise = [&] { child = fork(); };
    const PageCount gone = page_heap::scavenge(PageCount{100});
    walk_pages();
    if (child != 0) {
      EXPECT_EQ(gone, PageCount{100});
      int status = -1;
      ASSERT_EQ(waitpid(child, &status, 0), child);
      EXPECT_EQ(status, 0);
      return;
    }
    if (!::testing::Test::HasFailure()) {
      EXPECT_EQ(gone, PageCount{100});
      page_heap::release_all();
      Span *all = large(200);
      EXPECT_EQ(all->first, run.first) << "one run again";
      page_heap::free(all);
      walk_pages();
    }
    fflush(nullptr);
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  });
}

TEST(ForkedChild, IsWokenAgain) {
  in_own_heap([] {
    fork_handlers::install();
    Span *much = run_apart(2 * kMark);
    page_heap::free(much);
    EXPECT_EQ(wakes, 1);
    in_own_process([] {
      wakes = 0;
      page_heap::free(run_apart(3 * kMark));
      EXPECT_EQ(wakes, 1);
    });
    page_heap::free(run_apart(3 * kMark));
    EXPECT_EQ(wakes, 1) << "the parent has not armed it";
  });
}

// --- the policy, with everything real ---

void free_much(uint32_t pages) {
  Span *span = run_apart(pages);
  memset(memory(span), 1, span->bytes());
  page_heap::free(span);
}

TEST(Policy, WhatLiesFreeGoesBackAndTheThreadEnds) {
  in_own_heap([] {
    wakes_are_real = true;
    options.scavenge_delay = 0;
    free_much(2 * kMark);
    EXPECT_EQ(wakes, 1);
    await_one_task();
    const page_heap::WarmMemory warm = page_heap::take_warm_memory();
    EXPECT_LE(warm.pages, 64 + warm.used_pages / 10);
    wr_mem_stats now;
    stats::read(now);
    EXPECT_EQ(now.scavenged_bytes, (2 * kMark - warm.pages) * kPageSize);
    EXPECT_GT(now.scavenger_ns, 0u);
    EXPECT_EQ(now.scavenger_ns, scavenger::processor_time());
    EXPECT_EQ(now.heap_released, now.heap_idle - warm.pages * kPageSize);
    free_much(3 * kMark);
    EXPECT_EQ(wakes, 2);
    await_one_task();
    EXPECT_LE(page_heap::take_warm_memory().pages, 64 + warm.used_pages);
  });
}

TEST(Policy, OffIsOff) {
  in_own_heap([] {
    wakes_are_real = true;
    options.scavenge_delay = kNoLimit;
    free_much(2 * kMark);
    EXPECT_EQ(tasks(), 1);
    EXPECT_EQ(page_heap::take_warm_memory().pages, 2 * kMark);
    EXPECT_EQ(scavenger::processor_time(), 0u);
  });
}

// Switched off while the thread works, and on again: what is freed later goes back.
TEST(Policy, OffAndOnAgain) {
  in_own_heap([] {
    wakes_are_real = true;
    options.scavenge_delay = 0;
    Span *more = run_apart(2 * kMark);
    during_madvise = [more] {  // on the scavenger's thread: no libc here
      options.scavenge_delay = kNoLimit;
      page_heap::free(more);
    };
    free_much(2 * kMark);
    await_one_task();
    EXPECT_EQ(options.scavenge_delay, kNoLimit) << "the thread has worked";
    options.scavenge_delay = 0;
    const int woken = wakes;
    free_much(9 * kMark);
    EXPECT_EQ(wakes, woken + 1);
    await_one_task();
    EXPECT_LE(page_heap::take_warm_memory().pages, 64 + page_heap::take_warm_memory().used_pages / 10);
  });
}

// What the kernel refuses is no reason to go round in circles; it is tried again when much more lies free.
TEST(Policy, ARefusalEndsTheThread) {
  in_own_heap([] {
    wakes_are_real = true;
    options.scavenge_delay = 0;
    madvise_is_refused = true;
    free_much(2 * kMark);
    await_one_task();
    EXPECT_EQ(page_heap::take_warm_memory().pages, 2 * kMark);
    madvise_is_refused = false;
    const int woken = wakes;
    free_much(kMark);
    EXPECT_EQ(wakes, woken) << "no more than before";
    free_much(5 * kMark);
    EXPECT_EQ(wakes, woken + 1);
    await_one_task();
    EXPECT_LE(page_heap::take_warm_memory().pages, 64 + page_heap::take_warm_memory().used_pages / 10);
  });
}

// A run that the kernel will not take, since a page of it is locked, lies among shorter ones.
TEST(Policy, ALockedRunDoesNotKeepTheOthersWarm) {
  in_own_heap([] {
    wakes_are_real = true;
    options.scavenge_delay = 0;
    const Dirty key(100);
    if (mlock(memory(key.span), key.span->bytes()) != 0) GTEST_SKIP() << "mlock is not allowed here";
    std::vector<Dirty> others;
    for (uint32_t pages = 0; pages < kMark; pages += 64) others.push_back(Dirty(64));
    page_heap::free(key.span);
    for (const Dirty &other : others) page_heap::free(other.span);
    EXPECT_GE(wakes, 1);
    await_one_task();
    const page_heap::WarmMemory warm = page_heap::take_warm_memory();
    EXPECT_LE(warm.pages, 100 + 64 + warm.used_pages / 10);
  });
}

// A child that libc does not know to be forked has no fork handlers run, and whatever locks were held.
TEST(Policy, ABareChildMakesNoThread) {
  in_own_heap([] {
    wakes_are_real = true;
    options.scavenge_delay = 0;
    fflush(nullptr);
    const long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
      free_much(2 * kMark);
      _exit(wakes == 1 && tasks() == 1 ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(static_cast<pid_t>(child), &status, 0), child);
    EXPECT_EQ(status, 0);
  });
}

}  // namespace
}  // namespace warren
