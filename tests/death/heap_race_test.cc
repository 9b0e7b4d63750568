// Drives race_victim (two threads free one block at once) and stray_write_victim (writes after free).
// Run by meson without the preload; the children get it.
// Invariant: misuse the allocator cannot always stop is at least harmless to it: no crash of its own, and
// no block handed out twice. With WARREN_CONTROL=1 the outcome is printed and not asserted.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <tuple>

#include "child.h"

#if !defined(RACE_VICTIM) || !defined(STRAY_WRITE_VICTIM)
#error "RACE_VICTIM and STRAY_WRITE_VICTIM must be the paths of the victim programs"
#endif

namespace {

using victims::ChildOutcome;
using victims::ChildRequest;

std::string seed() {
  const char *chosen = getenv("WARREN_SEED");
  return chosen == nullptr ? "20240229" : chosen;
}

void expect_clean(const ChildRequest &request) {
  const ChildOutcome outcome = run_child(request);
  std::cout << outcome.out;
  if (victims::control_run()) return;
  EXPECT_TRUE(outcome.clean()) << "seed " << seed() << ", " << outcome.describe();
}

class DoubleFreeRace : public testing::TestWithParam<int> {};

void race(int size, int races, const char *order, const char *conf) {
  ChildRequest request;
  request.argv = {RACE_VICTIM, std::to_string(size), std::to_string(races * victims::soak_factor()), seed(), order};
  request.environment = {std::string("WARREN_CONF=") + conf};
  request.timeout_seconds = 120 * victims::soak_factor();
  expect_clean(request);
}

// Large blocks cost page faults, so they race less often.
int usual_races(int size) { return size > 100'000 ? 300 : 2'000; }

TEST_P(DoubleFreeRace, IsStopped) { race(GetParam(), usual_races(GetParam()), "in_turn", ""); }

// The two threads go on to allocate at the same time: no crash, and the count of blocks seen twice.
TEST_P(DoubleFreeRace, IsCountedWhenBothAllocateAtOnce) { race(GetParam(), usual_races(GetParam()) / 3, "at_once", ""); }

// With abort_on_error=0 a race is reported, or not even noticed, but a block must not get two owners.
TEST_P(DoubleFreeRace, IsHarmlessWhenIgnored) {
  if (victims::control_run()) GTEST_SKIP() << "control run";
  race(GetParam(), 1'000, "in_turn", "abort_on_error=0");
}

INSTANTIATE_TEST_SUITE_P(Size, DoubleFreeRace, testing::Values(8, 24, 100, 2'000, 32'768, 40'000, 1 << 20));

class StrayWrite : public testing::TestWithParam<std::tuple<int, int, const char *>> {};

TEST_P(StrayWrite, IsInert) {
  const auto [size, bytes, pattern] = GetParam();
  ChildRequest request;
  request.argv = {STRAY_WRITE_VICTIM, std::to_string(size), std::to_string(bytes), pattern, seed()};
  request.timeout_seconds = 60;
  expect_clean(request);
}

std::string stray_write_name(const testing::TestParamInfo<std::tuple<int, int, const char *>> &made) {
  const auto [size, bytes, pattern] = made.param;
  return std::to_string(size) + "_" + std::to_string(bytes) + "_" + pattern;
}

INSTANTIATE_TEST_SUITE_P(FirstWord, StrayWrite,
                         testing::Combine(testing::Values(8, 16, 48, 256, 1'024), testing::Values(8),
                                          testing::Values("letters", "zeros", "ones", "random", "pointers", "stack")),
                         stray_write_name);
INSTANTIATE_TEST_SUITE_P(EightWords, StrayWrite,
                         testing::Combine(testing::Values(64, 100, 2'000, 32'768, 40'000), testing::Values(64),
                                          testing::Values("letters", "random", "pointers")),
                         stray_write_name);

TEST(HeapRace, HasALibraryToTest) {
  if (victims::control_run()) GTEST_SKIP() << "control run";
  EXPECT_FALSE(victims::library_under_test().empty()) << "WARREN_LIB must name the library";
}

}  // namespace
