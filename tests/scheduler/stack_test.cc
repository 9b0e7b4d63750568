// Fiber stacks: what the collector may ask about them, guards, reuse, and that their memory goes back.
#include "fibers.h"
#include "scheduler/park.h"
#include "scheduler/stack.h"
#include "scheduler/stacks.h"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <set>
#include <sys/mman.h>
#include <vector>

namespace {

using namespace fibers;
using namespace warren::scheduler;

double resident_bytes() {
  double pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  EXPECT_EQ(fscanf(file, "%*s %lf", &pages), 1);
  fclose(file);
  return pages * 4096;
}

size_t mappings() {
  FILE *file = fopen("/proc/self/maps", "r");
  size_t lines = 0;
  for (int c; (c = fgetc(file)) != EOF;) lines += c == '\n';
  fclose(file);
  return lines;
}

TEST(Stack, OrdersArePowersOfTwo) {
  EXPECT_EQ(stacks::order_for(1), 0u);
  EXPECT_EQ(stacks::order_for(64 << 10), 0u);
  EXPECT_EQ(stacks::order_for((64 << 10) + 1), 1u);
  EXPECT_EQ(stacks::order_for(256 << 10), stacks::kDefaultOrder);
  EXPECT_EQ(stacks::bytes_of(stacks::order_for(size_t{1} << 30)), size_t{1} << 30);
  EXPECT_EQ(stacks::order_for((size_t{1} << 30) + 1), stacks::kOrders);
}

TEST(Stack, ManyOfAllSizesDoNotOverlap) {
  struct Range {
    uintptr_t low, high;
    bool operator<(const Range &other) const { return low < other.low; }
  };
  std::set<Range> ranges;
  std::vector<G *> all;
  for (unsigned order = 0; order < 8; ++order) {
    for (int i = 0; i < 40; ++i) {
      G *g = stacks::allocate(order);
      ASSERT_NE(g, nullptr);
      all.push_back(g);
      const auto low = reinterpret_cast<uintptr_t>(g->low);
      const Range range{low, low + stacks::bytes_of(order)};
      EXPECT_GT(reinterpret_cast<uintptr_t>(g), range.high - 4096);
      EXPECT_LE(reinterpret_cast<uintptr_t>(g + 1), range.high);
      const auto after = ranges.lower_bound(range);
      EXPECT_TRUE(after == ranges.end() || range.high <= after->low);
      EXPECT_TRUE(after == ranges.begin() || std::prev(after)->high <= range.low);
      ranges.insert(range);
      EXPECT_TRUE(stacks::in_guard(g->low));
      EXPECT_FALSE(stacks::in_guard(g));
      const StackBounds bounds = stack_bounds_of(reinterpret_cast<char *>(g) - 100);
      EXPECT_EQ(bounds.high, reinterpret_cast<char *>(range.high));
      EXPECT_GT(bounds.low, g->low);
    }
  }
  for (G *g : all) {
    Batch<G> one;
    one.push(g);
    stacks::free(one, g->stack_order);
  }
  int local = 0;
  EXPECT_EQ(stack_bounds_of(&local).high, nullptr);
  EXPECT_EQ(stack_bounds_of(nullptr).high, nullptr);
}

TEST(Stack, SomeAtATimeAreAll) {
  for (unsigned order = 0; order < 4; ++order) {  // each in slabs of its own
    Batch<G> some;
    for (int i = 0; i < 40; ++i) some.push(stacks::allocate(order));
    stacks::free(some, order);
  }
  const auto note = [](G *g, void *context) { static_cast<std::vector<G *> *>(context)->push_back(g); };
  std::vector<G *> all;
  stacks::for_each(note, &all);
  ASSERT_GT(all.size(), 100u);
  for (const size_t most : {size_t{1}, size_t{7}, all.size() - 1, all.size(), all.size() + 1}) {
    std::vector<G *> found;
    size_t parts = 0;
    stacks::Position at;
    do {
      const size_t before = found.size();
      at = stacks::for_some(at, most, note, &found);
      EXPECT_LE(found.size() - before, most);
      ++parts;
    } while (at != stacks::Position{} && parts <= all.size() + 1);
    EXPECT_EQ(found, all) << most;
    EXPECT_LE(parts, all.size() / most + 1) << most;
  }
}

TEST(Stack, GuardFaults) {
  G *g = stacks::allocate(stacks::kDefaultOrder);
  g->low[32 << 10] = 1;
  EXPECT_DEATH(g->low[100] = 1, "");
}

// Words that only parked stacks hold are found in the ranges that the collector is given.
TEST(Stack, ParkedStacksAreVisited) {
  if (kSanitized) GTEST_SKIP() << "reads stacks that are not stopped";
  run_on(2, [] {
    constexpr int kFibers = 200;
    std::atomic<int> parked{0};
    std::atomic<int> done{0};
    std::atomic<bool> end{false};
    for (int f = 0; f < kFibers; ++f) {
      go([&, f] {
        volatile uint64_t secret = 0x5ec7e70000000000 + static_cast<uint64_t>(f);
        ++parked;
        while (!end) wr_sleep_ns(20000000);
        EXPECT_EQ(secret & 0xffff, static_cast<uint64_t>(f));
        ++done;
      });
    }
    await(parked, kFibers);
    wr_sleep_ns(1000000);
    std::set<uint64_t> seen;
    for_each_parked_stack(
        [](char *low, char *high, void *context) {
          const StackBounds bounds = stack_bounds_of(low);
          EXPECT_LE(high, bounds.high);
          EXPECT_GT(low, bounds.low);
          for (auto *word = reinterpret_cast<uint64_t *>(low); word < reinterpret_cast<uint64_t *>(high); ++word) {
            if (*word >> 16 == 0x5ec7e7000000) static_cast<std::set<uint64_t> *>(context)->insert(*word & 0xffff);
          }
        },
        nullptr, nullptr, &seen);
    EXPECT_EQ(seen.size(), static_cast<size_t>(kFibers));
    end = true;
    while (done != kFibers) wr_sleep_ns(1000000);
  });
}

TEST(Stack, AHundredThousandParkedOnesArePagesNotMappings) {
  if (kSanitized) GTEST_SKIP() << "each fiber has memory of theirs";
  run_on(2, [] {
    constexpr int kFibers = 100000;
    const double before = resident_bytes();
    const size_t mappings_before = mappings();
    std::atomic<int> parked{0};
    std::atomic<G *> *waiting = new std::atomic<G *>[kFibers];
    for (int f = 0; f < kFibers; ++f) {
      ASSERT_EQ(0, go([&parked, waiting, f] {
                  park(
                      [](G *g, void *argument) {
                        static_cast<std::atomic<G *> *>(argument)->store(g);
                        return true;
                      },
                      &waiting[f], WaitReason::kSemaphore);
                  --parked;
                }));
      ++parked;
      if (f % 256 == 0) wr_yield();
    }
    for (int f = 0; f < kFibers; ++f) {
      while (waiting[f] == nullptr) wr_yield();
    }
    EXPECT_LT((resident_bytes() - before) / kFibers, 4096 + 512);  // the closures are in it
    EXPECT_LT(mappings() - mappings_before, 200u);
    for (int f = 0; f < kFibers; ++f) ready(waiting[f]);
    while (parked != 0) wr_yield();
    delete[] waiting;
    while (wr_fiber_count() != 1) wr_yield();
    // What nobody needs goes back after a while.
    while ((resident_bytes() - before) / kFibers > 1024) wr_sleep_ns(50000000);
    // And serves again.
    std::atomic<int> done{0};
    for (int f = 0; f < 10000; ++f) go([&] { ++done; });
    await(done, 10000);
  });
}

// --- what parked fibers have used of their stacks ---

// Touches so much of the stack below.
__attribute__((noinline)) uintptr_t use_stack() {
  char area[64 << 10];
  memset(area, 0x5a, sizeof area);
  asm volatile("" : : "r"(area) : "memory");
  return reinterpret_cast<uintptr_t>(area);
}

bool is_resident(uintptr_t address) {
  unsigned char present = 0;
  EXPECT_EQ(mincore(reinterpret_cast<void *>(address & ~uintptr_t{4095}), 1, &present), 0);
  return (present & 1) != 0;
}

struct DeepOne {
  std::atomic<G *> g{nullptr};
  std::atomic<uintptr_t> used{0};
  std::atomic<bool> intact{false};

  void run() {
    char mark[2000];
    memset(mark, 0x33, sizeof mark);
    asm volatile("" : : "r"(mark) : "memory");
    used = use_stack();
    park(
        [](G *parked, void *place) {
          static_cast<std::atomic<G *> *>(place)->store(parked);
          return true;
        },
        &g, WaitReason::kSemaphore);
    bool good = true;
    for (const char byte : mark) good &= byte == 0x33;
    use_stack();
    intact = good;
  }
};

TEST(Stack, WhatLiesBelowAParkedFiberIsGivenBack) {
  if (kSanitized) GTEST_SKIP() << "memory below a stack pointer is theirs to watch";
  for (const int ps : {1, 2}) {
    run_on(ps, [] {
      DeepOne one;
      ASSERT_EQ(0, go([&] { one.run(); }));
      while (one.g == nullptr || one.g.load()->status != GStatus::kWaiting) wr_sleep_ns(1000000);
      EXPECT_TRUE(is_resident(one.used));
      EXPECT_TRUE(stacks::may_have_unused(one.g));
      stacks::give_back_unused(one.g);  // nobody else makes it ready
      EXPECT_FALSE(is_resident(one.used));
      EXPECT_FALSE(stacks::may_have_unused(one.g));
      ready(one.g);
      while (!one.intact) wr_sleep_ns(1000000);
      EXPECT_TRUE(is_resident(one.used));
    });
  }
}

// While others run, and when all are idle. Meanwhile some are woken, and use their stacks again.
TEST(Stack, ParkedForLongGivesBackByItself) {
  if (kSanitized) GTEST_SKIP() << "memory below a stack pointer is theirs to watch";
  for (const bool idle : {false, true}) {
    run_on(2, [idle] {
      constexpr int kFibers = 200;
      std::vector<DeepOne> all(kFibers);
      for (DeepOne &one : all) ASSERT_EQ(0, go([&one] { one.run(); }));
      for (DeepOne &one : all) {
        while (one.g == nullptr) wr_sleep_ns(1000000);
      }
      int woken = 0;
      for (;;) {
        bool any = false;
        for (int i = woken; i < kFibers; ++i) any |= is_resident(all[static_cast<size_t>(i)].used);
        if (!any) break;
        wr_sleep_ns(idle ? 2000000000 : 10000000);
        if (woken < kFibers / 2) ready(all[static_cast<size_t>(woken++)].g);
      }
      for (int i = woken; i < kFibers; ++i) ready(all[static_cast<size_t>(i)].g);
      for (DeepOne &one : all) {
        while (!one.intact) wr_sleep_ns(1000000);
      }
    });
  }
}

}  // namespace
