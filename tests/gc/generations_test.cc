// When a cycle is a minor one: the rules of generations.h, one by one.
#include "gc/generations.h"

#include <gtest/gtest.h>

namespace warren::gc {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

// A full cycle of a program whose heap stays at 100 MiB, and of what it makes nothing does.
Generations::End full() {
  Generations::End end;
  end.before = 200 * kMiB;
  end.live = end.scannable = 100 * kMiB;
  end.scanned = 100 * kMiB;
  end.goal = 200 * kMiB;
  return end;
}

Generations::End minor(uint64_t live = 100 * kMiB) {
  Generations::End end = full();
  end.minor = true;
  end.live = end.scannable = live;
  end.scanned = kMiB;
  return end;
}

constexpr auto kAuto = Generations::Mode::kAuto;

// After a full cycle, with a minor one to come.
Generations steady() {
  Generations generations;
  EXPECT_TRUE(generations.next_is_minor(full(), kAuto));
  return generations;
}

TEST(Generations, AHeapThatStaysHasMinorCycles) {
  Generations generations = steady();
  EXPECT_TRUE(generations.next_is_minor(minor(), kAuto));
}

TEST(Generations, AHeapThatGrowsHasFullOnes) {
  Generations generations;
  Generations::End end = full();
  for (end.live = 50 * kMiB; end.live < 1000 * kMiB; end.live *= 2) {
    end.before = end.live + kMiB;
    EXPECT_FALSE(generations.next_is_minor(end, kAuto)) << end.live;
  }
}

TEST(Generations, WhatWasAllocatedWhileMarkingSaysNothing) {
  Generations generations;
  Generations::End end = full();
  generations.next_is_minor(end, kAuto);
  end.live = 160 * kMiB;
  end.black = 60 * kMiB;
  EXPECT_TRUE(generations.next_is_minor(end, kAuto));
}

TEST(Generations, SmallHeapsHaveFullOnes) {
  Generations generations;
  Generations::End end = full();
  end.live = end.scannable = 4 * kMiB;
  EXPECT_FALSE(generations.next_is_minor(end, kAuto));
}

TEST(Generations, WhoAsksForCyclesHasFullOnes) {
  Generations generations;
  Generations::End end = full();
  end.forced = true;
  EXPECT_FALSE(generations.next_is_minor(end, kAuto));
}

TEST(Generations, AFullOneComesWhenHalfOfTheRoomIsTaken) {
  Generations generations = steady();
  EXPECT_TRUE(generations.next_is_minor(minor(150 * kMiB), kAuto));
  EXPECT_FALSE(generations.next_is_minor(minor(151 * kMiB), kAuto));
}

TEST(Generations, TheLeastThatIsLiveCounts) {
  Generations generations = steady();
  EXPECT_TRUE(generations.next_is_minor(minor(80 * kMiB), kAuto));
  EXPECT_FALSE(generations.next_is_minor(minor(141 * kMiB), kAuto));
}

TEST(Generations, AFullOneComesInTheEnd) {
  Generations generations = steady();
  int minors = 0;
  while (generations.next_is_minor(minor(), kAuto)) ASSERT_LT(++minors, 1000);
  EXPECT_GT(minors, 4);
}

TEST(Generations, WhatDoesNotPayIsLeftForAWhileAndLongerEachTime) {
  Generations generations = steady();
  int before = 0;
  for (int i = 0; i < 4; ++i) {
    EXPECT_FALSE(generations.pays({.scannable = 100 * kMiB, .remembered = 51 * kMiB}));
    int fulls = 1;
    while (!generations.next_is_minor(full(), kAuto)) ASSERT_LT(++fulls, 1000);
    EXPECT_GT(fulls, before);
    before = fulls;
  }
  EXPECT_TRUE(generations.pays({.scannable = 100 * kMiB, .remembered = 49 * kMiB}));
}

TEST(Generations, AMinorOneThatScansMuchDoesNotPay) {
  Generations generations = steady();
  Generations::End end = minor();
  end.scanned = 51 * kMiB;
  EXPECT_FALSE(generations.next_is_minor(end, kAuto));
  EXPECT_FALSE(generations.next_is_minor(full(), kAuto));
}

TEST(Generations, CanBeHadAlwaysAndNever) {
  Generations generations;
  int minors = 0;
  Generations::End end = full();
  end.forced = true;
  for (int i = 0; i < 40; ++i) {
    end.minor = generations.next_is_minor(end, Generations::Mode::kAlways);
    minors += end.minor;
  }
  EXPECT_EQ(minors, 30);
  EXPECT_FALSE(generations.next_is_minor(full(), Generations::Mode::kOff));
}

}  // namespace
}  // namespace warren::gc
