// When a cycle begins to watch pages: the rules of late_watch.h.
#include "gc/late_watch.h"

#include <gtest/gtest.h>

namespace warren::gc {
namespace {

constexpr size_t kAll = 100'000;
constexpr uint64_t kMarking = 1'000'000'000, kAgain = 400'000'000;

LateWatch late() {
  LateWatch watch;
  watch.note_early(kAll, kAll);
  return watch;
}

TEST(LateWatch, BeginsEarly) { EXPECT_FALSE(LateWatch().is_late()); }

TEST(LateWatch, IsLateWhereNearlyAllIsWrittenTo) {
  LateWatch watch;
  watch.note_early(kAll / 2, kAll);
  EXPECT_FALSE(watch.is_late());
  watch.note_early(kAll * 4 / 5, kAll);
  EXPECT_TRUE(watch.is_late());
}

TEST(LateWatch, IsEarlyInSmallHeaps) {
  LateWatch watch;
  watch.note_early(1000, 1000);
  EXPECT_FALSE(watch.is_late());
  watch = late();
  watch.note_late(1000, 1000, kMarking, kAgain);
  EXPECT_FALSE(watch.is_late());
}

TEST(LateWatch, StaysLateAsLongAsItWouldBeWrittenTo) {
  LateWatch watch = late();
  watch.note_late(kAll * 4 / 5, kAll, kMarking, kAgain);
  EXPECT_TRUE(watch.is_late());
  watch.note_late(kAll / 10, kAll, kMarking, kAgain);  // in half of 400 ms: half of it all in a second
  EXPECT_TRUE(watch.is_late());
  watch.note_late(kAll / 11, kAll, kMarking, kAgain);
  EXPECT_FALSE(watch.is_late());
}

TEST(LateWatch, IsEarlyWhenNothingIsKnown) {
  LateWatch watch = late();
  watch.note_late(kAll, kAll, kMarking, 0);
  EXPECT_FALSE(watch.is_late());
}

}  // namespace
}  // namespace warren::gc
