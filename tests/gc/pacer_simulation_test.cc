// The pacer in simulated programs: what becomes of GOGC's promise, of the quarter of the processors, and of the limit.
// WARREN_SEED repeats a run. Invariant: time is simulated, so that no bound depends on the machine.
#include "gc/pacer.h"
#include "tests/gc/seed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <ostream>
#include <vector>

namespace warren::gc {
namespace {

constexpr uint64_t kKiB = 1024, kMiB = 1024 * kKiB;


// What a program is like in its cycle number i. Rates are bytes per nanosecond of one processor.
struct Load {
  const char *name;
  int percent;
  std::function<double(int, Random &)> allocation;
  std::function<double(int, Random &)> live;  // MiB reachable
  // The bounds, over all cycles but the first kWarmUp:
  double overshoot;    // heap at the end of marking, as a part of the goal: at most so much, in any cycle
  double utilization;  // processors that marking took while it was on: at most so much in the mean
  double share;        // processors that marking took of all the time: at most so much in the mean
  double scan_part = 0.8;                // of the live bytes, in blocks that may hold pointers
  double stacks = 0.1, globals = 1;      // MiB
  double again = 0.05;                   // of the heap's work, done once more because of stores
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
  uint64_t mapped = 0;      // most, while counted
  double share = 0;         // of all processor time, marking or not
};

class Simulation {
 public:
  Simulation(const Load &load, unsigned procs)
      : load_(load), procs_(procs), random_(seed()), pacer_(load.percent, load.limit), limiter_(procs) {}

  Outcome run() {
    for (int cycle = 0; cycle < kCycles; ++cycle) one_cycle(cycle);
    const int counted = kCycles - kWarmUp;
    outcome_.mean_overshoot /= counted;
    outcome_.utilization /= counted;
    outcome_.share = collector_time_ / all_time_;
    return outcome_;
  }

 private:
  Footprint footprint() {
    const uint64_t other = 4 * kMiB;
    mapped_ = std::max(mapped_, heap_live_ + other);
    outcome_.mapped = mapped_;
    return {mapped_, mapped_ - other - heap_live_, heap_live_};
  }

  // All processors, for so many nanoseconds.
  void pass(double nanoseconds, double collector_time, int cycle) {
    now_ += nanoseconds;
    limiter_.note(static_cast<uint64_t>(now_ * procs_), static_cast<uint64_t>(collector_time));
    if (cycle >= kWarmUp) {
      collector_time_ += collector_time;
      all_time_ += nanoseconds * procs_;
    }
  }

  void one_cycle(int cycle) {
    const double rate = load_.allocation(cycle, random_);
    const double live = load_.live(cycle, random_) * kMiB;

    // The program's beginning: it fills its heap.
    if (cycle == 0) heap_live_ = static_cast<uint64_t>(live);

    // Up to the trigger, sweeping as it goes; a step of allocation may go past it.
    for (;;) {
      const Targets targets = pacer_.targets(footprint());
      if (heap_live_ >= targets.trigger) break;
      const uint64_t part = std::max<uint64_t>((targets.trigger - heap_live_) / 4, 8 * kKiB);
      heap_live_ += part;
      pass(static_cast<double>(part) / rate / procs_, 0, cycle);
    }
    const Targets targets = pacer_.targets(footprint());
    if (cycle > 0 && targets.goal > pacer_.heap_marked()) {
      const double way = static_cast<double>(targets.trigger - pacer_.heap_marked()) /
        static_cast<double>(targets.goal - pacer_.heap_marked());
      outcome_.least_trigger = std::min(outcome_.least_trigger, way);
    }

    const auto globals = static_cast<uint64_t>(load_.globals * kMiB);
    const Pacer::Start start{.now = clock(), .heap_live = heap_live_, .procs = procs_, .globals = globals};
    const Workers workers = pacer_.start_cycle(start);
    const uint64_t goal = pacer_.targets(footprint()).goal;
    const uint64_t begun_at = heap_live_;
    const double reachable = std::min(live, static_cast<double>(heap_live_));
    const double heap_work = reachable * load_.scan_part;
    const double root_work = (load_.stacks + load_.globals) * kMiB;
    const double all_work = root_work + heap_work * (1 + load_.again);
    double done = 0, assist_time = 0, background_time = 0;
    ScanCredit credit;

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
      const ScanBytes there{scannable, static_cast<uint64_t>(load_.stacks * kMiB), globals, 0};
      return pacer_.revise({heap_live_, there, done_bytes(), limiter_.is_limiting()}, footprint());
    };

    // In ticks in which each processor has the same time; what a thread has overdrawn it lacks in the next.
    const double background = workers.dedicated + workers.fractional;
    const double tick = std::max(2000.0, all_work / kScanRate / procs_ / 400);
    const auto chunk = std::max<uint64_t>(8 * kKiB, static_cast<uint64_t>(tick * rate / 4));
    struct Thread {
      double budget = 0;  // nanoseconds left of this tick
      double paid = 0;    // bytes it may allocate before it pays again
      double owes = 0;    // work it has begun to pay with
    };
    std::vector<Thread> threads(procs_);
    while (done < all_work) {
      double collector = background * tick;
      background_time += collector;
      done += collector * kScanRate;
      credit.add(static_cast<uint64_t>(collector * kScanRate));
      for (unsigned i = 0; i < procs_ && done < all_work; ++i) {
        Thread &thread = threads[i];
        thread.budget += tick * (procs_ - background) / procs_;
        while (thread.budget > 0 && done < all_work) {
          if (limiter_.is_limiting()) thread.owes = 0;
          if (thread.owes > 0) {
            const double own = std::min({thread.owes, all_work - done, thread.budget * kScanRate});
            thread.owes -= own;
            thread.budget -= own / kScanRate;
            done += own;
            assist_time += own / kScanRate;
            collector += own / kScanRate;
            continue;
          }
          const Pace now = pace();
          if (thread.paid < static_cast<double>(chunk) && now.work_per_byte > 0) {
            const uint64_t work = now.work_for(chunk);
            thread.owes = static_cast<double>(work - credit.take(work));
            thread.paid += std::max(static_cast<double>(chunk), static_cast<double>(now.bytes_for(work)));
            continue;
          }
          thread.paid -= static_cast<double>(chunk);
          heap_live_ += chunk;
          thread.budget -= static_cast<double>(chunk) / rate;
        }
      }
      pass(tick, collector, cycle);
    }
    footprint();
    const double overshoot = static_cast<double>(heap_live_) / static_cast<double>(goal);
    const auto marked = static_cast<uint64_t>(reachable) + heap_live_ - begun_at;
    const auto summary = pacer_.end_cycle({.now = clock(), .heap_live = heap_live_, .heap_marked = marked,
      .heap_new = heap_live_ - begun_at,
      .done = done_bytes(), .assist_time = static_cast<uint64_t>(assist_time),
      .background_time = static_cast<uint64_t>(background_time)});
    heap_live_ = marked;
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
  double now_ = 1;
  uint64_t heap_live_ = 0, mapped_ = 0;
  double collector_time_ = 0, all_time_ = 1;  // counted
  Outcome outcome_;
};

double jitter(Random &random, double by) { return std::uniform_real_distribution<double>(1 - by, 1 + by)(random); }
std::function<double(int, Random &)> constant(double value) {
  return [value](int, Random &) { return value; };
}

std::function<double(int, Random &)> step(double before, double after) {
  return [=](int cycle, Random &) { return cycle < kCycles / 2 ? before : after; };
}
std::function<double(int, Random &)> ramp(double from, double to) {
  return [=](int cycle, Random &) { return from + (to - from) * cycle / kCycles; };
}
std::function<double(int, Random &)> wave(double low, double high) {
  return [=](int cycle, Random &) { return (low + high) / 2 + (high - low) / 2 * std::sin(cycle * 0.7); };
}
std::function<double(int, Random &)> jittery_ramp(double from, double to, double by) {
  return [=](int cycle, Random &random) { return (from + (to - from) * cycle / kCycles) * jitter(random, by); };
}
std::function<double(int, Random &)> jittery(double value, double by) {
  return [=](int, Random &random) { return value * jitter(random, by); };
}

// The table of bounds. Overshoot is what a program sees of GOGC: at 1.0 its promise is kept. Utilization is a quarter
// when nobody assists; what is above it is the program's threads marking instead of running. Share is the price of all.
const Load kLoads[] = {
    {.name = "steady", .percent = 100, .allocation = constant(0.1), .live = constant(64),
      .overshoot = 1.02, .utilization = 0.29, .share = 0.09},
    {.name = "steady, percent 1", .percent = 1, .allocation = constant(0.1), .live = constant(64),
      .overshoot = 1.13, .utilization = 1.0, .share = 0.93},
    {.name = "steady, percent 1000", .percent = 1000, .allocation = constant(0.1), .live = constant(64),
      .overshoot = 1.02, .utilization = 0.29, .share = 0.02},
    {.name = "fast", .percent = 100, .allocation = constant(1), .live = constant(64),
      .overshoot = 1.03, .utilization = 0.77, .share = 0.48},
    {.name = "slow", .percent = 100, .allocation = constant(0.001), .live = constant(64),
      .overshoot = 1.02, .utilization = 0.32, .share = 0.02},
    {.name = "tiny", .percent = 100, .allocation = constant(0.1), .live = constant(0.5),
      .overshoot = 1.02, .utilization = 0.99, .share = 0.06},
    {.name = "large stacks", .percent = 100, .allocation = constant(0.1), .live = constant(64),
      .overshoot = 1.02, .utilization = 0.28, .share = 0.09, .stacks = 200},
    {.name = "large globals", .percent = 100, .allocation = constant(0.1), .live = constant(64),
      .overshoot = 1.02, .utilization = 0.28, .share = 0.09, .globals = 200},
    {.name = "written again", .percent = 100, .allocation = constant(0.1), .live = constant(64),
      .overshoot = 1.02, .utilization = 0.37, .share = 0.15, .again = 1},
    {.name = "step of allocation", .percent = 100, .allocation = step(0.03, 0.3), .live = constant(64),
      .overshoot = 1.03, .utilization = 0.42, .share = 0.06},
    {.name = "step of the live heap", .percent = 100, .allocation = constant(0.1), .live = step(32, 128),
      .overshoot = 1.17, .utilization = 0.3, .share = 0.09},
    {.name = "fall of the live heap", .percent = 100, .allocation = constant(0.1), .live = step(256, 8),
      .overshoot = 1.02, .utilization = 0.44, .share = 0.08},
    {.name = "waves of allocation", .percent = 100, .allocation = wave(0.02, 0.4), .live = constant(64),
      .overshoot = 1.03, .utilization = 0.4, .share = 0.09},
    {.name = "waves of the live heap", .percent = 100, .allocation = constant(0.1), .live = wave(32, 96),
      .overshoot = 1.09, .utilization = 0.3, .share = 0.09},
    {.name = "ramp of allocation", .percent = 100, .allocation = ramp(0.01, 0.5), .live = constant(64),
      .overshoot = 1.03, .utilization = 0.47, .share = 0.19},
    {.name = "ramp of the live heap", .percent = 100, .allocation = constant(0.1), .live = ramp(8, 256),
      .overshoot = 1.05, .utilization = 0.28, .share = 0.09},
    {.name = "jitter", .percent = 100, .allocation = jittery(0.1, 0.2), .live = jittery(64, 0.1),
      .overshoot = 1.13, .utilization = 0.34, .share = 0.11},
    {.name = "jittery growth", .percent = 100, .allocation = constant(0.2), .live = jittery_ramp(16, 256, 0.2),
      .overshoot = 1.19, .utilization = 0.38, .share = 0.16},
    {.name = "heavy jitter", .percent = 100, .allocation = jittery(0.2, 0.8), .live = jittery(64, 0.5),
      .overshoot = 1.5, .utilization = 0.45, .share = 0.2},
    {.name = "limit, off", .percent = -1, .allocation = constant(0.1), .live = constant(64),
      .overshoot = 1.02, .utilization = 0.29, .share = 0.05, .limit = 256 * kMiB},
    {.name = "limit, near", .percent = 100, .allocation = constant(0.1), .live = constant(100),
      .overshoot = 1.02, .utilization = 0.6, .share = 0.3, .limit = 136 * kMiB},
    {.name = "limit, jitter", .percent = -1, .allocation = jittery(0.2, 0.5), .live = jittery(64, 0.3),
      .overshoot = 1.16, .utilization = 0.41, .share = 0.16, .limit = 192 * kMiB},
};

class Programs : public testing::TestWithParam<std::tuple<Load, unsigned>> {};

TEST_P(Programs, StayWithinTheirBounds) {
  const auto &[load, procs] = GetParam();
  const Outcome outcome = Simulation(load, procs).run();
  printf("%s, %u procs: overshoot %.3f (mean %.3f), utilization %.3f, share %.3f, trigger %.3f, mapped %.1f MiB\n",
    load.name, procs, outcome.worst_overshoot, outcome.mean_overshoot, outcome.utilization, outcome.share,
    outcome.least_trigger, static_cast<double>(outcome.mapped) / kMiB);
  EXPECT_LE(outcome.worst_overshoot, load.overshoot);
  EXPECT_GE(outcome.utilization, kBackgroundShare * 0.95);
  EXPECT_LE(outcome.utilization, load.utilization);
  EXPECT_LE(outcome.share, load.share);
  EXPECT_GE(outcome.least_trigger, 0.69);
  // 64 threads pay in advance, each for 64 KiB of work at least; the rest stays below the limit. (Seed 1075688982
  // comes to 1.065 of it, 600 others to 1.052 at most.)
  EXPECT_LE(outcome.mapped, load.limit == kNever ? kNever : load.limit + load.limit / 12);
}

INSTANTIATE_TEST_SUITE_P(All, Programs, testing::Combine(testing::ValuesIn(kLoads), testing::Values(1u, 2u, 8u, 64u)));

// The live heap leaves no room below the limit. Without the limiter the program would only mark; with it the limit
// gives way, and the program has half of the time.
class Overcommitted : public testing::TestWithParam<std::tuple<double, unsigned>> {};

TEST_P(Overcommitted, HasHalfOfTheTime) {
  const auto [live, procs] = GetParam();
  const double size = 1024.0 * procs;  // large enough for each cycle to last a second
  const Load load{.name = "overcommitted", .percent = 100, .allocation = constant(0.5), .live = constant(live * size),
    .overshoot = 0, .utilization = 0, .share = 0, .limit = static_cast<uint64_t>(size) * kMiB};
  const Outcome outcome = Simulation(load, procs).run();
  printf("live %.2f of the limit, %u procs: share %.3f, mapped %.2f of the limit\n", live, procs, outcome.share,
    static_cast<double>(outcome.mapped) / static_cast<double>(load.limit));
  EXPECT_NEAR(outcome.share, 0.5, 0.03);
  EXPECT_LE(outcome.mapped, 3 * load.limit);
}

INSTANTIATE_TEST_SUITE_P(All, Overcommitted,
  testing::Combine(testing::Values(0.96, 1.0, 1.3), testing::Values(1u, 2u, 8u, 64u)));

}  // namespace
}  // namespace warren::gc
