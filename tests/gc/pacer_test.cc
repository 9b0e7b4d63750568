// The pacer: its formulas at their corners, and what comes of them in simulated programs.
// WARREN_SEED repeats a run. Invariant: time is simulated, so that no bound depends on the machine.
#include "gc/pacer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <ostream>
#include <random>
#include <thread>
#include <vector>

namespace warren::gc {
namespace {

constexpr uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;
constexpr Footprint kNothing{};

using Random = std::mt19937_64;

uint64_t seed() {
  static const uint64_t value = [] {
    const char *text = getenv("WARREN_SEED");
    const uint64_t chosen = text != nullptr ? strtoull(text, nullptr, 10) : std::random_device{}();
    printf("WARREN_SEED=%llu\n", static_cast<unsigned long long>(chosen));
    return chosen;
  }();
  return value;
}

// A pacer that has seen a cycle which left so much.
Pacer after_cycle(Pacer pacer, uint64_t marked, ScanBytes done = {}) {
  pacer.start_cycle({.now = 0, .heap_live = marked, .procs = 4, .globals = done.globals});
  pacer.end_cycle({.now = 1'000'000, .heap_live = marked, .heap_marked = marked, .done = done});
  pacer.sweep_done();
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
  pacer.sweep_done();
  EXPECT_EQ(pacer.targets(kNothing).trigger, 128 * kMiB + 128 * kMiB / 64 * 45);
}

TEST(Targets, WhileSweepingAMebibyteMayBeAllocated) {
  Pacer pacer(1);
  pacer.start_cycle({.now = 0, .heap_live = kMiB});
  pacer.end_cycle({.now = 1000, .heap_live = kMiB, .heap_marked = kMiB, .done = {.heap = kMiB}});
  EXPECT_EQ(pacer.targets(kNothing).trigger, 2 * kMiB);
  pacer.sweep_done();
  EXPECT_LT(pacer.targets(kNothing).goal, kMiB + kMiB / 64);
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
    if (workers.fractional != 0) EXPECT_TRUE(procs <= 3 || procs == 6) << procs;
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
}

TEST(Workers, PeriodicCyclesWakeNobody) {
  EXPECT_EQ(Pacer().start_cycle({.procs = 8, .reason = Pacer::Reason::kTime}).idle, 0u);
  EXPECT_EQ(Pacer().start_cycle({.procs = 2, .reason = Pacer::Reason::kTime}).idle, 1u);
  EXPECT_EQ(Pacer().start_cycle({.procs = 2, .reason = Pacer::Reason::kForced}).idle, 2u);
  EXPECT_EQ(Pacer().start_cycle({.procs = 0}).idle, 1u);
}

// --- assists ---

TEST(Revise, WorkLeftOverRoomLeft) {
  Pacer pacer = after_cycle(Pacer(), 100 * kMiB, {.heap = 100 * kMiB});
  pacer.start_cycle({.heap_live = 180 * kMiB, .procs = 4});
  const Pace pace = pacer.revise({.heap_live = 190 * kMiB, .scannable = {.heap = 190 * kMiB}, .done = {.heap = 60 * kMiB}}, kNothing);
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
  const Pace pace = pacer.revise({.heap_live = 190 * kMiB, .scannable = {.heap = 150 * kMiB}, .done = {.heap = 110 * kMiB}}, kNothing);
  EXPECT_EQ(pace.goal, 210 * kMiB);
  EXPECT_DOUBLE_EQ(pace.work_per_byte, 2.0);
}

TEST(Revise, NotBeyondTheHardGoal) {
  Pacer pacer = after_cycle(Pacer(100), 100 * kMiB, {.heap = kMiB});
  pacer.start_cycle({.heap_live = 180 * kMiB, .procs = 4});
  const Pace pace = pacer.revise({.heap_live = 190 * kMiB, .scannable = {.heap = 190 * kMiB}, .done = {.heap = 2 * kMiB}}, kNothing);
  EXPECT_EQ(pace.goal, 400 * kMiB);
}

TEST(Revise, NotBeyondTheLimit) {
  Pacer pacer = after_cycle(Pacer(-1, 200 * kMiB), 100 * kMiB, {.heap = 50 * kMiB});
  pacer.start_cycle({.heap_live = 180 * kMiB, .procs = 4});
  const Footprint footprint{.mapped = 190 * kMiB, .heap_bytes = 190 * kMiB};
  const Pace pace = pacer.revise({.heap_live = 190 * kMiB, .scannable = {.heap = 190 * kMiB}, .done = {.heap = 60 * kMiB}}, footprint);
  EXPECT_EQ(pace.goal, 194 * kMiB);
}

TEST(Revise, PastTheGoalATenthIsLeft) {
  Pacer pacer = after_cycle(Pacer(), 100 * kMiB, {.heap = 100 * kMiB});
  pacer.start_cycle({.heap_live = 190 * kMiB, .procs = 4});
  const Pace pace = pacer.revise({.heap_live = 201 * kMiB, .scannable = {.heap = 200 * kMiB}, .done = {.heap = 10 * kMiB}}, kNothing);
  EXPECT_NEAR(pace.work_per_byte, 10.0, 0.01);  // 190 MiB of work, 19 MiB of room
}

TEST(Revise, PagesWrittenToAreExpectedAgain) {
  Pacer pacer = after_cycle(Pacer(), 100 * kMiB, {.heap = 80 * kMiB, .again = 20 * kMiB});
  pacer.start_cycle({.heap_live = 190 * kMiB, .procs = 4});
  const Pace pace = pacer.revise({.heap_live = 190 * kMiB, .scannable = {.heap = 190 * kMiB}}, kNothing);
  EXPECT_DOUBLE_EQ(pace.work_per_byte, 10.0);
}

TEST(Revise, NobodyPaysWhenLimitedOrOff) {
  Pacer pacer = after_cycle(Pacer(), 100 * kMiB, {.heap = 100 * kMiB});
  pacer.start_cycle({.heap_live = 190 * kMiB, .procs = 4});
  const Pace pace = pacer.revise({.heap_live = 190 * kMiB, .is_limited = true}, kNothing);
  EXPECT_EQ(pace.work_for(kMiB), 0u);
  pacer.set_percent(-1);
  EXPECT_EQ(pacer.revise({.heap_live = 190 * kMiB}, kNothing).work_for(kMiB), 0u);
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
    if (i >= 1 && i <= 5) EXPECT_DOUBLE_EQ(pacer.cons_mark(), greatest) << i;
  }
  EXPECT_LT(pacer.cons_mark(), greatest);
}

TEST(EndCycle, UtilizationCountsAssistsAndMeasuredWorkers) {
  Pacer pacer;
  pacer.start_cycle({.now = 1000, .heap_live = kMiB, .procs = 4});
  const Pacer::End end{.now = 2000, .heap_live = 2 * kMiB, .heap_marked = kMiB, .done = {.heap = kMiB}, .assist_time = 400,
    .background_time = 800};
  EXPECT_DOUBLE_EQ(pacer.end_cycle(end).utilization, 0.3);
  EXPECT_FALSE(pacer.is_marking());
}

TEST(EndCycle, ACycleInWhichNothingHappenedTeachesNothing) {
  Pacer pacer;
  pacer.start_cycle({.now = 1000, .heap_live = kMiB});
  EXPECT_EQ(pacer.end_cycle({.now = 1000, .heap_live = kMiB, .heap_marked = kMiB}).cons_mark, 0);
  EXPECT_EQ(pacer.cons_mark(), 0);
}

TEST(SweepPace, DoneAMebibyteBeforeTheTrigger) {
  Random random(seed());
  for (int i = 0; i < 2000; ++i) {
    const uint64_t marked = 8 * kMiB + random() % (4 * kGiB);
    Pacer pacer;
    pacer.start_cycle({.now = 0, .heap_live = marked});
    pacer.end_cycle({.now = 1000, .heap_live = marked, .heap_marked = marked, .done = {.heap = marked}});
    const uint64_t pages = 1 + random() % (marked / 8192);
    const uint64_t trigger = pacer.targets(kNothing).trigger;
    const SweepPace pace = pacer.sweep_pace(pages, marked, kNothing);
    EXPECT_EQ(pace.pages_due(marked), 0u);
    EXPECT_GE(pace.pages_due(trigger - kMiB) + 1, pages);
    EXPECT_LE(pace.pages_due(marked + (trigger - marked) / 4), pages);
  }
  const SweepPace nothing = Pacer().sweep_pace(0, kMiB, kNothing);
  EXPECT_EQ(nothing.pages_due(kGiB), 0u);
  EXPECT_TRUE(std::isfinite(after_cycle(Pacer(-1), kMiB).sweep_pace(1, kMiB, kNothing).pages_per_byte));
}

// --- the limiter ---

TEST(CpuLimiter, LimitsWhenTheBucketIsFull) {
  constexpr uint64_t kSecond = 1'000'000'000;
  CpuLimiter limiter(2);
  limiter.note(kSecond, 2 * kSecond - 1, 0);
  EXPECT_FALSE(limiter.is_limiting());
  limiter.note(kSecond, 2 * kSecond, 0);
  EXPECT_TRUE(limiter.is_limiting());
  EXPECT_GT(limiter.overflow(), 0u);
  limiter.note(kSecond / 2, kSecond / 2, 0);  // half is allowed, and leaves things as they are
  EXPECT_TRUE(limiter.is_limiting());
  limiter.note(kSecond / 1000, 0, 0);
  EXPECT_FALSE(limiter.is_limiting());
  limiter.note(10 * kSecond, 0, 0);
  limiter.note(kSecond / 2, kSecond, 0);
  EXPECT_FALSE(limiter.is_limiting());
}

TEST(CpuLimiter, IdleTimeDrainsNothing) {
  CpuLimiter limiter(1);
  limiter.note(4'000'000'000, 1'000'000'000, 3'000'000'000);
  EXPECT_TRUE(limiter.is_limiting());
  limiter.note(4'000'000'000, 0, 4'000'000'000);
  EXPECT_TRUE(limiter.is_limiting());
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

ScanBytes any_bytes(Random &random) { return {any_number(random), any_number(random), any_number(random), any_number(random)}; }

Footprint any_footprint(Random &random) { return {any_number(random), any_number(random), any_number(random)}; }

TEST(Pacer, AnyInputGivesFiniteOrderedResults) {
  Random random(seed());
  for (int run = 0; run < 300; ++run) {
    Pacer pacer(static_cast<int>(random()), any_number(random));
    for (int step = 0; step < 60; ++step) {
      const Footprint footprint = any_footprint(random);
      switch (random() % 6) {
        case 0: pacer.set_percent(static_cast<int>(any_number(random))); break;
        case 1: pacer.set_limit(any_number(random)); break;
        case 2:
          pacer.start_cycle({any_number(random), any_number(random), static_cast<unsigned>(any_number(random)),
            Pacer::Reason::kHeap, any_number(random)});
          break;
        case 3: {
          const Pace pace = pacer.revise({any_number(random), any_bytes(random), any_bytes(random), random() % 4 == 0}, footprint);
          ASSERT_TRUE(std::isfinite(pace.work_per_byte) && pace.work_per_byte >= 0);
          ASSERT_TRUE(std::isfinite(pace.bytes_per_work) && pace.bytes_per_work >= 0);
          pace.work_for(any_number(random));
          pace.bytes_for(any_number(random));
          break;
        }
        case 4: {
          const auto summary = pacer.end_cycle({any_number(random), any_number(random), any_number(random), any_bytes(random),
            any_number(random), any_number(random), any_number(random)});
          ASSERT_TRUE(std::isfinite(summary.utilization) && std::isfinite(summary.cons_mark));
          break;
        }
        default: {
          const SweepPace pace = pacer.sweep_pace(any_number(random), any_number(random), footprint);
          ASSERT_TRUE(std::isfinite(pace.pages_per_byte));
          pace.pages_due(any_number(random));
        }
      }
      const Targets targets = pacer.targets(footprint);
      ASSERT_LE(targets.trigger, targets.goal);
      if (pacer.heap_marked() <= targets.goal) ASSERT_LE(pacer.heap_marked(), targets.trigger);
    }
  }
}

// --- simulated programs ---

// What a program is like in its cycle number i. Rates are bytes per nanosecond of one processor.
struct Load {
  const char *name;
  int percent;
  std::function<double(int, Random &)> allocation;
  std::function<double(int, Random &)> live;  // MiB reachable
  // The bounds, over all cycles but the first kWarmUp:
  double overshoot;  // heap at the end of marking, as a part of the goal: at most so much, in any cycle
  double utilization;  // processors that marking took while it was on: at most so much in the mean
  double scan_part = 0.8;  // of the live bytes, in blocks that may hold pointers
  double stacks = 0.1, globals = 1;  // MiB
  double again = 0.05;  // of the heap's work, done once more because of stores
  uint64_t limit = kNever;
};

void PrintTo(const Load &load, std::ostream *out) { *out << load.name; }

constexpr int kCycles = 60;
constexpr int kWarmUp = 12;
constexpr double kScanRate = 1.0;  // a byte each nanosecond

struct Outcome {
  double worst_overshoot = 0;
  double mean_overshoot = 0;
  double utilization = 0;   // while marking
  double least_trigger = 1; // on the way from marked to goal
  double mapped = 0;        // most, MiB
  double long_share = 0;    // of all processor time, marking or not, the last half of the run
};

class Simulation {
 public:
  Simulation(const Load &load, unsigned procs)
      : load_(load), procs_(procs), random_(seed()), pacer_(load.percent, load.limit), limiter_(procs), paid_(procs) {}

  Outcome run() {
    for (int cycle = 0; cycle < kCycles; ++cycle) one_cycle(cycle);
    const int counted = kCycles - kWarmUp;
    outcome_.mean_overshoot /= counted;
    outcome_.utilization /= counted;
    outcome_.long_share = late_gc_ / late_all_;
    return outcome_;
  }

 private:
  Footprint footprint() {
    const uint64_t other = 4 * kMiB;
    mapped_ = std::max(mapped_, heap_live_ + other);
    outcome_.mapped = std::max(outcome_.mapped, static_cast<double>(mapped_) / kMiB);
    return {mapped_, mapped_ - other - heap_live_, heap_live_};
  }

  // All processors, for so many nanoseconds.
  void pass(double nanoseconds, double collector_time, int cycle) {
    now_ += nanoseconds;
    limiter_.note(static_cast<uint64_t>(nanoseconds), static_cast<uint64_t>(collector_time), 0);
    if (cycle >= kCycles / 2) {
      late_gc_ += collector_time;
      late_all_ += nanoseconds * procs_;
    }
  }

  void one_cycle(int cycle) {
    const double rate = load_.allocation(cycle, random_);
    const double live = load_.live(cycle, random_) * kMiB;

    // Up to the trigger, sweeping as it goes; a step of allocation may go past it.
    for (;;) {
      const Targets targets = pacer_.targets(footprint());
      if (heap_live_ >= targets.trigger) break;
      const uint64_t step = std::min<uint64_t>(std::max<uint64_t>((targets.trigger - heap_live_) / 4, 8 * kKiB), 64 * kMiB);
      heap_live_ += step;
      pass(static_cast<double>(step) / rate / procs_, 0, cycle);
    }
    const Targets targets = pacer_.targets(footprint());
    if (cycle > 0 && targets.goal > pacer_.heap_marked()) {
      const double way = static_cast<double>(targets.trigger - pacer_.heap_marked()) / static_cast<double>(targets.goal - pacer_.heap_marked());
      outcome_.least_trigger = std::min(outcome_.least_trigger, way);
    }

    const auto globals = static_cast<uint64_t>(load_.globals * kMiB);
    const Workers workers = pacer_.start_cycle({.now = clock(), .heap_live = heap_live_, .procs = procs_, .globals = globals});
    const uint64_t goal = pacer_.targets(footprint()).goal;
    const uint64_t begun_at = heap_live_;
    const double reachable = std::min(live, static_cast<double>(heap_live_));
    const double heap_work = reachable * load_.scan_part;
    const double root_work = (load_.stacks + load_.globals) * kMiB;
    const double all_work = root_work + heap_work * (1 + load_.again);
    double done = 0, assist_time = 0, background_time = 0;
    ScanCredit credit;
    paid_.assign(procs_, 0);

    const auto done_bytes = [&] {
      ScanBytes bytes{.stacks = static_cast<uint64_t>(std::min(done, load_.stacks * kMiB))};
      double rest = std::max(0.0, done - load_.stacks * kMiB);
      bytes.globals = static_cast<uint64_t>(std::min(rest, load_.globals * kMiB));
      rest = std::max(0.0, rest - load_.globals * kMiB);
      bytes.heap = static_cast<uint64_t>(std::min(rest, heap_work));
      bytes.again = static_cast<uint64_t>(std::max(0.0, rest - heap_work));
      return bytes;
    };
    const auto pace = [&] {
      const auto scannable = static_cast<uint64_t>(static_cast<double>(heap_live_) * load_.scan_part);
      return pacer_.revise({heap_live_, {scannable, static_cast<uint64_t>(load_.stacks * kMiB), globals, 0}, done_bytes(),
        limiter_.is_limiting()}, footprint());
    };

    // In ticks in which each processor has the same time; what a thread has overdrawn it lacks in the next.
    const double background = workers.dedicated + workers.fractional;
    const double tick = std::max(2000.0, all_work / kScanRate / procs_ / 400);
    std::vector<double> budget(procs_, 0);
    while (done < all_work) {
      double collector = background * tick;
      background_time += collector;
      done += collector * kScanRate;
      credit.add(static_cast<uint64_t>(collector * kScanRate));
      for (unsigned i = 0; i < procs_ && done < all_work; ++i) {
        budget[i] += tick * (procs_ - background) / procs_;
        while (budget[i] > 0 && done < all_work) {
          const uint64_t chunk = 8 * kKiB;
          const Pace now = pace();
          if (paid_[i] < static_cast<double>(chunk) && now.work_per_byte > 0) {
            const uint64_t work = now.work_for(chunk);
            const uint64_t taken = credit.take(work);
            const double own = std::min(static_cast<double>(work - taken), all_work - done);
            done += own;
            assist_time += own / kScanRate;
            collector += own / kScanRate;
            budget[i] -= own / kScanRate;
            paid_[i] += std::max(static_cast<double>(chunk), static_cast<double>(now.bytes_for(work)));
          }
          paid_[i] -= static_cast<double>(chunk);
          heap_live_ += chunk;
          budget[i] -= static_cast<double>(chunk) / rate;
        }
      }
      pass(tick, collector, cycle);
    }
    footprint();
    const double overshoot = static_cast<double>(heap_live_) / static_cast<double>(goal);
    const auto marked = static_cast<uint64_t>(reachable) + heap_live_ - begun_at;
    const auto summary = pacer_.end_cycle({.now = clock(), .heap_live = heap_live_, .heap_marked = marked, .done = done_bytes(),
      .assist_time = static_cast<uint64_t>(assist_time), .background_time = static_cast<uint64_t>(background_time)});
    heap_live_ = marked;
    pacer_.sweep_done();
    if (cycle >= kWarmUp) {
      outcome_.worst_overshoot = std::max(outcome_.worst_overshoot, overshoot);
      outcome_.mean_overshoot += overshoot;
      outcome_.utilization += summary.utilization;
    }
  }

  uint64_t clock() const { return static_cast<uint64_t>(now_); }

  const Load &load_;
  unsigned procs_;
  Random random_;
  Pacer pacer_;
  CpuLimiter limiter_;
  std::vector<double> paid_;  // bytes each thread may allocate before it pays again
  double now_ = 1;
  uint64_t heap_live_ = 0, mapped_ = 0;
  double late_gc_ = 0, late_all_ = 1;
  Outcome outcome_;
};

double jitter(Random &random, double by) { return std::uniform_real_distribution<double>(1 - by, 1 + by)(random); }
std::function<double(int, Random &)> constant(double value) {
  return [value](int, Random &) { return value; };
}

const Load kLoads[] = {
    {.name = "steady", .percent = 100, .allocation = constant(0.1), .live = constant(64), .overshoot = 1.02, .utilization = 0.30},
};

class Programs : public testing::TestWithParam<std::tuple<Load, unsigned>> {};

TEST_P(Programs, StayWithinTheirBounds) {
  const auto &[load, procs] = GetParam();
  const Outcome outcome = Simulation(load, procs).run();
  printf("%s, %u procs: overshoot %.3f (mean %.3f), utilization %.3f, trigger %.3f, long share %.3f\n", load.name, procs,
    outcome.worst_overshoot, outcome.mean_overshoot, outcome.utilization, outcome.least_trigger, outcome.long_share);
  EXPECT_LE(outcome.worst_overshoot, load.overshoot);
  EXPECT_LE(outcome.utilization, load.utilization);
  EXPECT_GE(outcome.least_trigger, 0.69);
}

INSTANTIATE_TEST_SUITE_P(All, Programs, testing::Combine(testing::ValuesIn(kLoads), testing::Values(1u, 2u, 8u, 64u)));

}  // namespace
}  // namespace warren::gc
