// The line of gctrace: Go's own examples of how it writes numbers, and that the line is what tools for Go's take apart.
#include "gc/trace_line.h"

#include <gtest/gtest.h>

#include <limits>
#include <regex>
#include <string>

namespace warren::gc {
namespace {

std::string text_of(const CycleTrace &cycle) {
  LogLine line;
  line << cycle;
  return {line.data(), line.size()};
}

CycleTrace example() {
  CycleTrace cycle;
  cycle.number = 4;
  cycle.since_start = 120'037'400'000;
  cycle.clock = {18'900, 1'190'000, 29'000};
  cycle.cpu = {36'000, 400'000, 900'000, 200'000, 58'000};
  cycle.heap_at_start = 20 << 20;
  cycle.heap_at_end = (21 << 20) - 1;
  cycle.goal = 29 << 20;
  cycle.procs = 2;
  return cycle;
}

constexpr char kGo[] = "gc 4 @120.037s 0%: 0.018+1.1+0.029 ms clock, 0.036+0.40/0.90/0.20+0.058 ms cpu, 20->20->0 MB, "
  "29 MB goal, 0 MB stacks, 0 MB globals, 2 P";

TEST(TraceLine, IsGos) { EXPECT_EQ(text_of(example()), kGo); }

TEST(TraceLine, ForcedAndTrackingStandAtTheEnd) {
  CycleTrace cycle = example();
  cycle.tracking = "userfault";
  EXPECT_EQ(text_of(cycle), std::string(kGo) + " (userfault)");
  cycle.is_forced = true;
  EXPECT_EQ(text_of(cycle), std::string(kGo) + " (forced) (userfault)");
  cycle.tracking = nullptr;
  EXPECT_EQ(text_of(cycle), std::string(kGo) + " (forced)");
}

TEST(TraceLine, MillisecondsHaveTwoDigits) {
  const struct { uint64_t nanoseconds; const char *text; } rows[] = {
      {0, "0"}, {999, "0"}, {1000, "0.001"}, {18'000, "0.018"}, {99'999, "0.099"}, {100'000, "0.10"}, {456'789, "0.45"},
      {999'999, "0.99"}, {1'000'000, "1.0"}, {1'290'000, "1.2"}, {9'999'999, "9.9"}, {10'000'000, "10"},
      {99'999'999, "99"}, {123'456'789'000, "123456"}};
  for (const auto &row : rows) {
    CycleTrace cycle;
    cycle.clock.mark = row.nanoseconds;
    EXPECT_NE(text_of(cycle).find(std::string(": 0+") + row.text + "+0 ms clock"), std::string::npos) << text_of(cycle);
  }
}

TEST(TraceLine, TheTimeSinceTheStartHasThreeDecimals) {
  const struct { uint64_t nanoseconds; const char *text; } rows[] = {
      {0, "@0.000s"}, {7'000'000, "@0.007s"}, {1'050'999'999, "@1.050s"}, {3'600'000'000'000, "@3600.000s"}};
  for (const auto &row : rows) {
    CycleTrace cycle;
    cycle.since_start = row.nanoseconds;
    EXPECT_NE(text_of(cycle).find(row.text), std::string::npos) << text_of(cycle);
  }
}

// The longest there is: nothing may be cut, and tools must still find their way.
TEST(TraceLine, FitsWhateverTheNumbers) {
  constexpr uint64_t most = std::numeric_limits<uint64_t>::max();
  CycleTrace cycle;
  cycle.number = cycle.since_start = cycle.heap_at_start = cycle.heap_at_end = cycle.heap_live = most;
  cycle.goal = cycle.stacks = cycle.globals = most;
  cycle.percent = cycle.procs = std::numeric_limits<unsigned>::max();
  cycle.clock = {most, most, most};
  cycle.cpu = {most, most, most, most, most};
  cycle.is_forced = true;
  cycle.tracking = "userfault";
  const std::string text = text_of(cycle);
  EXPECT_TRUE(text.ends_with(" P (forced) (userfault)")) << text;
  const std::regex go(R"(gc (\d+) @(\d+\.\d{3})s (\d+)%: ([\d.]+)\+([\d.]+)\+([\d.]+) ms clock, )"
    R"(([\d.]+)\+([\d.]+)/([\d.]+)/([\d.]+)\+([\d.]+) ms cpu, (\d+)->(\d+)->(\d+) MB, (\d+) MB goal, (\d+) MB stacks, )"
    R"((\d+) MB globals, (\d+) P( \(forced\))?( \(\w+\))?)");
  EXPECT_TRUE(std::regex_match(text, go)) << text;
  EXPECT_TRUE(std::regex_match(std::string(kGo), go));
}

}  // namespace
}  // namespace warren::gc
