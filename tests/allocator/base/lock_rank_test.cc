// The order of locks and its checker: allocator/base/lock_rank.h, and mutex.h in debug builds. Run by base_test.
// Invariant: every pair of ranks is tried; the checker fires exactly for the pairs that are out of order.
#include "allocator/base/check.h"
#include "allocator/base/lock_rank.h"
#include "allocator/base/mutex.h"

#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <thread>

namespace warren {
namespace {

using ::testing::Eq;
using ::testing::KilledBySignal;

constexpr LockRank kRanks[] = {LockRank::kWorld,    LockRank::kTakeP,         LockRank::kPollTable, LockRank::kPoll,
                               LockRank::kTimers,   LockRank::kScheduler,     LockRank::kStacks,    LockRank::kHeapInit,
                               LockRank::kCacheRegistry, LockRank::kCentral,  LockRank::kPageHeap,  LockRank::kMetadata};
constexpr const char *kNames[] = {"world",     "take P", "poll table",     "poll",    "timers",    "scheduler",
                                  "stacks", "heap init", "cache registry", "central", "page heap", "metadata"};

std::string text(size_t taking, size_t held) {
  return std::string("warren: fatal error: lock order: taking ") + kNames[taking] + " while holding " +
         std::to_string(uint64_t{1} << (4 * held)) + "; aborting\n";
}

void take_both(LockRank first, LockRank second) NO_THREAD_SAFETY_ANALYSIS {
  Mutex one(first), two(second);
  one.lock();
  two.lock();
  two.unlock();
  one.unlock();
}

TEST(LockRank, Names) {
  for (size_t i = 0; i < std::size(kRanks); ++i) EXPECT_STREQ(lock_rank::name(kRanks[i]), kNames[i]);
}

TEST(LockRankDeathTest, TheCheckerFiresForEachPairOutOfOrder) {
  for (size_t held = 0; held < std::size(kRanks); ++held) {
    for (size_t taking = 0; taking < std::size(kRanks); ++taking) {
      lock_rank::note_acquired(kRanks[held]);
      if (taking <= held) {
        EXPECT_EXIT(lock_rank::check_acquire(kRanks[taking]), KilledBySignal(SIGABRT), Eq(text(taking, held)));
      } else {
        lock_rank::check_acquire(kRanks[taking]);
      }
      lock_rank::note_released(kRanks[held]);
    }
  }
}

TEST(LockRank, NothingIsHeldOnceReleased) {
  for (const LockRank rank : kRanks) lock_rank::note_acquired(rank);
  for (const LockRank rank : kRanks) lock_rank::note_released(rank);
  lock_rank::check_acquire(LockRank::kWorld);
}

TEST(LockRank, WhatAnotherThreadHoldsDoesNotMatter) {
  lock_rank::note_acquired(LockRank::kMetadata);
  std::thread([] { lock_rank::check_acquire(LockRank::kHeapInit); }).join();
  lock_rank::note_released(LockRank::kMetadata);
}

TEST(LockRank, ForkMayHoldAllCentrals) {
  for (int i = 0; i < 68; ++i) lock_rank::note_acquired(LockRank::kCentral);  // more than a counter of four bits holds
  lock_rank::note_acquired(LockRank::kPageHeap);
  lock_rank::note_released(LockRank::kPageHeap);
  for (int i = 0; i < 68; ++i) lock_rank::note_released(LockRank::kCentral);
  lock_rank::check_acquire(LockRank::kHeapInit);
}

TEST(LockRankDeathTest, DebugBuildsCheckEachLock) {
  for (size_t held = 0; held < std::size(kRanks); ++held) {
    for (size_t taking = 0; taking < std::size(kRanks); ++taking) {
      if (kDebug && taking <= held) {
        EXPECT_EXIT(take_both(kRanks[held], kRanks[taking]), KilledBySignal(SIGABRT), Eq(text(taking, held)));
      } else {
        take_both(kRanks[held], kRanks[taking]);
      }
    }
  }
}

}  // namespace
}  // namespace warren
