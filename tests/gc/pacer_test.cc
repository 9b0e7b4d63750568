// The pacer's formulas at their corners, and with any input. What becomes of them in programs is in
// pacer_simulation_test.cc. WARREN_SEED repeats a run.
#include "gc/pacer.h"
#include "tests/gc/seed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

namespace warren::gc {
namespace {

constexpr uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;
constexpr Footprint kNothing{};

// A pacer that has seen a cycle which left so much.
Pacer after_cycle(Pacer pacer, uint64_t marked, ScanBytes done = {}) {
  pacer.start_cycle({.now = 0, .heap_live = marked, .procs = 4, .globals = done.globals});
  pacer.end_cycle({.now = 1'000'000, .heap_live = marked, .heap_marked = marked, .done = done});
  return pacer;
}

// --- targets ---

TEST(Targets, FirstCycleStartsBelowFourMebibytes) {
  const Targets first = Pacer().targets(kNothing);
  EXPECT_EQ(first.goal, 4 * kMiB);
  EXPECT_EQ(first.trigger, 4 * kMiB / 64 * 61);
  EXPECT_EQ(Pacer(1000).targets(kNothing).goal, 40 * kMiB);
  EXPECT_EQ(Pacer(1).targets(kNothing).goal, 4 * kMiB / 100);
}

TEST(Targets, GoalCountsStacksAndGlobals) {
  const Pacer pacer = after_cycle(Pacer(50), 100 * kMiB, {.heap = 80 * kMiB, .stacks = 10 * kMiB, .globals = 6 * kMiB});
  EXPECT_EQ(pacer.targets(kNothing).goal, 100 * kMiB + 116 * kMiB / 2);
}

TEST(Targets, TheHeapGrowsForWhatIsKnownToBeReachable) {
  for (const auto &[fresh, growth] : {std::pair{20, 80}, {0, 100}, {60, 50}}) {
    Pacer pacer;
    pacer.start_cycle({.now = 0, .heap_live = 100 * kMiB, .procs = 4});
    const auto new_bytes = static_cast<uint64_t>(fresh) * kMiB;
    pacer.end_cycle({.now = 1'000'000, .heap_live = 130 * kMiB, .heap_marked = 100 * kMiB, .heap_new = new_bytes,
                     .done = {}});
    EXPECT_EQ(pacer.targets(kNothing).goal, (100 + static_cast<uint64_t>(growth)) * kMiB);
  }
}

TEST(Targets, AMinorCycleLeavesTheGoalWhereItIs) {
  Pacer pacer = after_cycle(Pacer(), 100 * kMiB);
  const auto after_minor = [&pacer](uint64_t marked) {
    pacer.start_cycle({.now = 0, .heap_live = 190 * kMiB, .procs = 4, .minor = true});
    pacer.end_cycle({.now = 1'000'000, .heap_live = 190 * kMiB, .heap_marked = marked, .done = {}, .minor = true});
    return pacer.targets(kNothing).goal;
  };
  EXPECT_EQ(after_minor(120 * kMiB), 200 * kMiB);
  EXPECT_EQ(after_minor(190 * kMiB), 190 * kMiB + 100 * kMiB / 8) << "some room is left at least";
  EXPECT_EQ(after_minor(80 * kMiB), 160 * kMiB) << "a full cycle would have left no more";
}

TEST(Targets, TheWorkOfEachKindOfCycleIsLearntApart) {
  Pacer pacer;
  const auto cycle = [&pacer](bool minor, bool next_is_minor, uint64_t scanned) {
    pacer.start_cycle({.now = 0, .heap_live = 150 * kMiB, .procs = 4, .minor = minor});
    pacer.end_cycle({.now = 1'000'000'000, .heap_live = 165 * kMiB, .heap_marked = 100 * kMiB, .done = {.heap = scanned},
                     .minor = minor, .next_is_minor = next_is_minor});
    return pacer.targets(kNothing).trigger;
  };
  const uint64_t before_full = cycle(false, false, 100 * kMiB);
  const uint64_t before_first_minor = cycle(false, true, 100 * kMiB);
  EXPECT_GT(before_first_minor, before_full) << "it is taken to be half of the work";
  const uint64_t before_minor = cycle(true, true, 100 * kMiB);
  EXPECT_EQ(cycle(true, true, 100 * kMiB), before_minor);
  EXPECT_EQ(cycle(true, false, 100 * kMiB), before_full);
}

TEST(Targets, OffNeverTriggers) {
  const Targets targets = after_cycle(Pacer(-1), 100 * kMiB).targets(kNothing);
  EXPECT_EQ(targets.goal, kNever);
  EXPECT_EQ(targets.trigger, kNever);
  EXPECT_EQ(Pacer(-5).percent(), -1);
}

TEST(Targets, NoSpeedKnownMeansLatestTrigger) {
  const Targets small = after_cycle(Pacer(), 10 * kMiB).targets(kNothing);
  EXPECT_EQ(small.trigger, std::max(10 * kMiB + 10 * kMiB / 64 * 61, 16 * kMiB));
  const Targets large = after_cycle(Pacer(), kGiB).targets(kNothing);
  EXPECT_EQ(large.trigger, 2 * kGiB - 4 * kMiB);
}

TEST(Targets, FastAllocationMeansEarliestTrigger) {
  Pacer pacer;
  pacer.start_cycle({.now = 0, .heap_live = 100 * kMiB, .procs = 4});
  pacer.end_cycle({.now = 1000, .heap_live = 10 * kGiB, .heap_marked = 128 * kMiB, .done = {.heap = 100 * kMiB}});
  EXPECT_EQ(pacer.targets(kNothing).trigger, 128 * kMiB + 128 * kMiB / 64 * 45);
}

TEST(Targets, AMissedTriggerMovesTheGoal) {
  Pacer pacer = after_cycle(Pacer(), 10 * kMiB);
  pacer.start_cycle({.now = 0, .heap_live = 50 * kMiB});
  EXPECT_EQ(pacer.targets(kNothing).goal, 50 * kMiB + 64 * kKiB);
}

TEST(Targets, LimitLeavesRoomForTheRest) {
  const Pacer pacer = after_cycle(Pacer(-1, kGiB), 100 * kMiB);
  const Footprint footprint{.mapped = 300 * kMiB, .free = 50 * kMiB, .heap_bytes = 150 * kMiB};
  const uint64_t room = kGiB - 100 * kMiB;
  EXPECT_EQ(pacer.targets(footprint).goal, room - room / 100 * 3);
  EXPECT_LT(pacer.targets(footprint).trigger, pacer.targets(footprint).goal);
}

TEST(Targets, OverageComesOffTheGoal) {
  const Pacer pacer = after_cycle(Pacer(-1, kGiB), 100 * kMiB);
  const Footprint footprint{.mapped = kGiB + 24 * kMiB, .free = 0, .heap_bytes = kGiB};
  const uint64_t room = kGiB - 48 * kMiB;
  EXPECT_EQ(pacer.targets(footprint).goal, room - room / 100 * 3);
}

TEST(Targets, NoRoomUnderTheLimitMeansTheLiveHeap) {
  const Pacer pacer = after_cycle(Pacer(100, kGiB), 900 * kMiB);
  const Targets targets = pacer.targets({.mapped = 2 * kGiB, .free = 0, .heap_bytes = 900 * kMiB});
  EXPECT_EQ(targets.goal, 900 * kMiB);
  EXPECT_EQ(targets.trigger, 900 * kMiB);
}

TEST(Targets, SmallerOfPercentAndLimit) {
  const Pacer pacer = after_cycle(Pacer(100, 10 * kGiB), 100 * kMiB);
  EXPECT_EQ(pacer.targets(kNothing).goal, 200 * kMiB);
  Pacer changed = pacer;
  changed.set_limit(150 * kMiB);
  EXPECT_EQ(changed.targets(kNothing).goal, 150 * kMiB - 150 * kMiB / 100 * 3);
  changed.set_limit(kNever);
  changed.set_percent(300);
  EXPECT_EQ(changed.targets(kNothing).goal, 400 * kMiB);
  changed.set_percent(-1);
  EXPECT_EQ(changed.targets(kNothing).goal, kNever);
}

// --- workers ---

TEST(Workers, AQuarterOfTheProcessors) {
  for (unsigned procs = 1; procs <= 300; ++procs) {
    Pacer pacer;
    const Workers workers = pacer.start_cycle({.procs = procs});
    const double share = (workers.dedicated + workers.fractional) / procs;
    EXPECT_GE(share, kBackgroundShare * 0.7) << procs;
    EXPECT_LE(share, kBackgroundShare * 1.3) << procs;
    EXPECT_GE(workers.fractional, 0);
    EXPECT_LT(workers.fractional, 1);
    EXPECT_EQ(workers.idle, procs - workers.dedicated);
    EXPECT_EQ(workers.fractional != 0, procs <= 3 || procs == 6) << procs;
  }
}

TEST(Workers, GoTable) {
  const struct { unsigned procs, dedicated; double fractional; } rows[] = {
      {1, 0, 0.25}, {2, 0, 0.5}, {3, 0, 0.75}, {4, 1, 0}, {5, 1, 0}, {6, 1, 0.5}, {7, 2, 0}, {8, 2, 0}, {64, 16, 0}};
  for (const auto &row : rows) {
    const Workers workers = Pacer().start_cycle({.procs = row.procs});
    EXPECT_EQ(workers.dedicated, row.dedicated) << row.procs;
    EXPECT_DOUBLE_EQ(workers.fractional, row.fractional) << row.procs;
  }
  EXPECT_EQ(Pacer().start_cycle({.procs = 0}).idle, 1u);
}

// --- assists ---

Pace revise(const Pacer &pacer, uint64_t live, uint64_t scannable, uint64_t done,
            const Footprint &footprint = kNothing) {
  return pacer.revise({.heap_live = live, .scannable = {.heap = scannable}, .done = {.heap = done}}, footprint);
}

TEST(Revise, WorkLeftOverRoomLeft) {
  Pacer pacer = after_cycle(Pacer(), 100 * kMiB, {.heap = 100 * kMiB});
  pacer.start_cycle({.heap_live = 180 * kMiB, .procs = 4});
  const Pace pace = revise(pacer, 190 * kMiB, 190 * kMiB, 60 * kMiB);
  EXPECT_DOUBLE_EQ(pace.work_per_byte, 4.0);
  EXPECT_DOUBLE_EQ(pace.bytes_per_work, 0.25);
  EXPECT_EQ(pace.goal, 200 * kMiB);
  EXPECT_EQ(pace.work_for(kMiB), 4 * kMiB + 1);
  EXPECT_EQ(pace.bytes_for(4 * kMiB), kMiB);
  EXPECT_EQ(pace.work_for(16), Pace::kLeastWork);
}

TEST(Revise, MoreWorkThanExpectedExtendsTheGoal) {
  Pacer pacer = after_cycle(Pacer(), 100 * kMiB, {.heap = 100 * kMiB});
  pacer.start_cycle({.heap_live = 180 * kMiB, .procs = 4});
  const Pace pace = revise(pacer, 190 * kMiB, 150 * kMiB, 110 * kMiB);
  EXPECT_EQ(pace.goal, 210 * kMiB);
  EXPECT_DOUBLE_EQ(pace.work_per_byte, 2.0);
}

TEST(Revise, NotBeyondTheHardGoal) {
  Pacer pacer = after_cycle(Pacer(100), 100 * kMiB, {.heap = kMiB});
  pacer.start_cycle({.heap_live = 180 * kMiB, .procs = 4});
  const Pace pace = revise(pacer, 190 * kMiB, 190 * kMiB, 2 * kMiB);
  EXPECT_EQ(pace.goal, 400 * kMiB);
}

TEST(Revise, NotBeyondTheLimit) {
  Pacer pacer = after_cycle(Pacer(-1, 200 * kMiB), 100 * kMiB, {.heap = 50 * kMiB});
  pacer.start_cycle({.heap_live = 180 * kMiB, .procs = 4});
  const Footprint footprint{.mapped = 190 * kMiB, .heap_bytes = 190 * kMiB};
  const Pace pace = revise(pacer, 190 * kMiB, 190 * kMiB, 60 * kMiB, footprint);
  EXPECT_EQ(pace.goal, 194 * kMiB);
}

TEST(Revise, PastTheGoalATenthIsLeft) {
  Pacer pacer = after_cycle(Pacer(), 100 * kMiB, {.heap = 100 * kMiB});
  pacer.start_cycle({.heap_live = 190 * kMiB, .procs = 4});
  const Pace pace = revise(pacer, 201 * kMiB, 200 * kMiB, 10 * kMiB);
  EXPECT_NEAR(pace.work_per_byte, 10.0, 0.01);  // 190 MiB of work, 19 MiB of room
}

TEST(Revise, PastALimitThereIsLessLeft) {
  Pacer pacer = after_cycle(Pacer(-1, 200 * kMiB), 100 * kMiB, {.heap = 100 * kMiB});
  pacer.start_cycle({.heap_live = 190 * kMiB, .procs = 4});
  const Footprint footprint{.mapped = 195 * kMiB, .heap_bytes = 195 * kMiB};
  EXPECT_LT(revise(pacer, 195 * kMiB, 195 * kMiB, 0, footprint).goal, 200 * kMiB);
}

TEST(Revise, PagesWrittenToAreExpectedAgain) {
  Pacer pacer = after_cycle(Pacer(), 100 * kMiB, {.heap = 80 * kMiB, .again = 20 * kMiB});
  pacer.start_cycle({.heap_live = 190 * kMiB, .procs = 4});
  const Pace pace = revise(pacer, 190 * kMiB, 190 * kMiB, 0);
  EXPECT_DOUBLE_EQ(pace.work_per_byte, 10.0);
}

TEST(Revise, NobodyPaysWhenLimitedOrOff) {
  Pacer pacer = after_cycle(Pacer(), 100 * kMiB, {.heap = 100 * kMiB});
  pacer.start_cycle({.heap_live = 190 * kMiB, .procs = 4});
  const Pace pace = pacer.revise({190 * kMiB, {}, {}, true}, kNothing);
  EXPECT_EQ(pace.work_for(kMiB), 0u);
  pacer.set_percent(-1);
  EXPECT_EQ(revise(pacer, 190 * kMiB, 0, 0).work_for(kMiB), 0u);
}

TEST(ScanCredit, IsGivenOutOnce) {
  ScanCredit credit;
  EXPECT_EQ(credit.take(10), 0u);
  credit.add(15);
  EXPECT_EQ(credit.take(10), 10u);
  EXPECT_EQ(credit.take(10), 5u);
  EXPECT_EQ(credit.take(10), 0u);
  std::atomic<uint64_t> taken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20000; ++round) {
        credit.add(3);
        taken += credit.take(2);
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(taken + credit.load(), 4u * 20000 * 3);
}

// --- the end of a cycle ---

TEST(EndCycle, ConsMarkIsTheGreatestOfTheLastFive) {
  Pacer pacer;
  double greatest = 0;
  const uint64_t allocated[] = {10, 50, 10, 10, 10, 10, 10, 10};
  for (size_t i = 0; i < std::size(allocated); ++i) {
    pacer.start_cycle({.now = 0, .heap_live = 100 * kMiB, .procs = 4});
    const auto summary = pacer.end_cycle({.now = 1'000'000, .heap_live = (100 + allocated[i]) * kMiB,
      .heap_marked = 100 * kMiB, .done = {.heap = 100 * kMiB}});
    EXPECT_NEAR(summary.cons_mark, static_cast<double>(allocated[i]) / 100 / 3, 1e-9);
    EXPECT_DOUBLE_EQ(summary.utilization, kBackgroundShare);
    if (i == 1) greatest = summary.cons_mark;
    if (i >= 1 && i <= 5) {
      EXPECT_DOUBLE_EQ(pacer.cons_mark(), greatest) << i;
    }
  }
  EXPECT_LT(pacer.cons_mark(), greatest);
}

TEST(EndCycle, UtilizationCountsAssistsAndMeasuredWorkers) {
  Pacer pacer;
  pacer.start_cycle({.now = 1000, .heap_live = kMiB, .procs = 4});
  const Pacer::End end{.now = 2000, .heap_live = 2 * kMiB, .heap_marked = kMiB, .done = {.heap = kMiB},
    .assist_time = 400, .background_time = 800};
  EXPECT_DOUBLE_EQ(pacer.end_cycle(end).utilization, 0.3);
  EXPECT_FALSE(pacer.is_marking());
}

TEST(EndCycle, ACycleInWhichNothingHappenedTeachesNothing) {
  Pacer pacer;
  pacer.start_cycle({.now = 1000, .heap_live = kMiB});
  EXPECT_EQ(pacer.end_cycle({.now = 1000, .heap_live = kMiB, .heap_marked = kMiB, .done = {}}).cons_mark, 0);
  EXPECT_EQ(pacer.cons_mark(), 0);
}

// --- the limiter ---

class CpuLimiterTest : public testing::Test {
 protected:
  static constexpr uint64_t kSecond = 1'000'000'000;
  void note(uint64_t program_time, uint64_t collector_time) {
    process_time_ += program_time + collector_time;
    limiter_.note(process_time_, collector_time);
  }
  uint64_t process_time_ = 0;
  CpuLimiter limiter_{2};
};

TEST_F(CpuLimiterTest, LimitsWhenTheBucketIsFull) {
  note(1, 2 * kSecond - 1);
  EXPECT_FALSE(limiter_.is_limiting());
  note(0, 2 * kSecond);
  EXPECT_TRUE(limiter_.is_limiting());
  EXPECT_GT(limiter_.overflow(), 0u);
  note(kSecond / 2, kSecond / 2);  // half is allowed, and leaves things as they are
  EXPECT_TRUE(limiter_.is_limiting());
  note(kSecond / 5, 0);  // what did not fit goes first
  EXPECT_TRUE(limiter_.is_limiting());
  note(kSecond / 10, 0);
  EXPECT_FALSE(limiter_.is_limiting());
  note(20 * kSecond, 0);
  note(0, kSecond);
  EXPECT_FALSE(limiter_.is_limiting());
}

// Cycles that take nearly all while they last, and as long again without one.
TEST_F(CpuLimiterTest, CountsWhatPassesBetweenCycles) {
  for (int cycle = 0; cycle < 1000; ++cycle) {
    note(kSecond / 10 + kSecond / 1000, kSecond / 10);
    ASSERT_FALSE(limiter_.is_limiting());
  }
}

TEST_F(CpuLimiterTest, AForkedChildsTimeBeginsAnew) {
  note(kSecond, 0);
  note(0, 3 * kSecond);
  EXPECT_TRUE(limiter_.is_limiting());
  process_time_ = 0;
  note(kSecond / 4 + 1, 0);
  EXPECT_FALSE(limiter_.is_limiting());
}

// --- any input ---

uint64_t any_number(Random &random) {
  switch (random() % 8) {
    case 0: return 0;
    case 1: return kNever;
    case 2: return kNever - random() % 100;
    case 3: return random() % 100;
    default: return random() >> (random() % 64);
  }
}

ScanBytes any_bytes(Random &random) {
  return {any_number(random), any_number(random), any_number(random), any_number(random)};
}

Footprint any_footprint(Random &random) { return {any_number(random), any_number(random), any_number(random)}; }

TEST(Pacer, AnyInputGivesFiniteOrderedResults) {
  Random random(seed());
  for (int run = 0; run < 300; ++run) {
    Pacer pacer(static_cast<int>(random()), any_number(random));
    for (int step = 0; step < 60; ++step) {
      const Footprint footprint = any_footprint(random);
      switch (random() % 5) {
        case 0: pacer.set_percent(static_cast<int>(any_number(random))); break;
        case 1: pacer.set_limit(any_number(random)); break;
        case 2:
          pacer.start_cycle({any_number(random), any_number(random), static_cast<unsigned>(any_number(random)), any_number(random)});
          break;
        case 3: {
          const bool limited = random() % 4 == 0;
          const ScanBytes there = any_bytes(random), done = any_bytes(random);
          const Pace pace = pacer.revise({any_number(random), there, done, limited}, footprint);
          ASSERT_TRUE(std::isfinite(pace.work_per_byte) && pace.work_per_byte >= 0);
          ASSERT_TRUE(std::isfinite(pace.bytes_per_work) && pace.bytes_per_work >= 0);
          pace.work_for(any_number(random));
          pace.bytes_for(any_number(random));
          break;
        }
        default: {
          const auto summary = pacer.end_cycle({any_number(random), any_number(random), any_number(random), any_number(random),
            any_bytes(random), any_number(random), any_number(random), any_number(random)});
          ASSERT_TRUE(std::isfinite(summary.utilization) && std::isfinite(summary.cons_mark));
          break;
        }
      }
      const Targets targets = pacer.targets(footprint);
      ASSERT_LE(targets.trigger, targets.goal);
      if (pacer.heap_marked() <= targets.goal) {
        ASSERT_LE(pacer.heap_marked(), targets.trigger);
      }
    }
  }
}

}  // namespace
}  // namespace warren::gc
