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

struct Named {
  LockRank rank;
  const char *name;
};
constexpr Named kNamed[] = {
    {LockRank::kFiberWorld, "fiber world"},
    {LockRank::kBackground, "background"},
    {LockRank::kWorld, "world"},
    {LockRank::kCycle, "cycle"},
    {LockRank::kSpecials, "specials"},
    {LockRank::kCollectCaches, "collector's caches"},
    {LockRank::kSpanSet, "span set"},
    {LockRank::kPacing, "pacing"},
    {LockRank::kRootedMemory, "rooted memory"},
    {LockRank::kMarkWork, "mark work"},
    {LockRank::kTakeP, "take P"},
    {LockRank::kPollTable, "poll table"},
    {LockRank::kPoll, "poll"},
    {LockRank::kTimers, "timers"},
    {LockRank::kScheduler, "scheduler"},
    {LockRank::kStacks, "stacks"},
    {LockRank::kSamples, "samples"},
    {LockRank::kStackTable, "stack table"},
    {LockRank::kHeapInit, "heap init"},
    {LockRank::kCacheRegistry, "cache registry"},
    {LockRank::kCentral, "central"},
    {LockRank::kPageHeap, "page heap"},
    {LockRank::kMetadata, "metadata"},
    {LockRank::kProtection, "protection"},
};

std::string text(size_t taking, size_t held) {
  return std::string("warren: fatal error: lock order: taking ") + kNamed[taking].name + " while holding " +
         std::to_string(uint64_t{1} << (lock_rank::kBitsPerRank * held)) + "; aborting\n";
}

void take_both(LockRank first, LockRank second) NO_THREAD_SAFETY_ANALYSIS {
  Mutex one(first), two(second);
  one.lock();
  two.lock();
  two.unlock();
  one.unlock();
}

TEST(LockRank, Names) {
  for (size_t i = 0; i < std::size(kNamed); ++i) EXPECT_STREQ(lock_rank::name(kNamed[i].rank), kNamed[i].name);
}

TEST(LockRankDeathTest, TheCheckerFiresForEachPairOutOfOrder) {
  for (size_t held = 0; held < std::size(kNamed); ++held) {
    for (size_t taking = 0; taking < std::size(kNamed); ++taking) {
      lock_rank::note_acquired(kNamed[held].rank);
      if (taking <= held) {
        EXPECT_EXIT(lock_rank::check_acquire(kNamed[taking].rank), KilledBySignal(SIGABRT), Eq(text(taking, held)));
      } else {
        lock_rank::check_acquire(kNamed[taking].rank);
      }
      lock_rank::note_released(kNamed[held].rank);
    }
  }
}

TEST(LockRank, NothingIsHeldOnceReleased) {
  for (const Named &named : kNamed) lock_rank::note_acquired(named.rank);
  for (const Named &named : kNamed) lock_rank::note_released(named.rank);
  lock_rank::check_acquire(LockRank::kHeapInit);
}

TEST(LockRank, WhatAnotherThreadHoldsDoesNotMatter) {
  lock_rank::note_acquired(LockRank::kMetadata);
  std::thread([] { lock_rank::check_acquire(LockRank::kHeapInit); }).join();
  lock_rank::note_released(LockRank::kMetadata);
}

TEST(LockRank, ForkMayHoldAllCentrals) {
  for (int i = 0; i < 68; ++i) lock_rank::note_acquired(LockRank::kCentral);  // more than a counter holds
  lock_rank::note_acquired(LockRank::kPageHeap);
  lock_rank::note_released(LockRank::kPageHeap);
  for (int i = 0; i < 68; ++i) lock_rank::note_released(LockRank::kCentral);
  lock_rank::check_acquire(LockRank::kHeapInit);
}

TEST(LockRankDeathTest, DebugBuildsCheckEachLock) {
  for (size_t held = 0; held < std::size(kNamed); ++held) {
    for (size_t taking = 0; taking < std::size(kNamed); ++taking) {
      if (kDebug && taking <= held) {
        EXPECT_EXIT(take_both(kNamed[held].rank, kNamed[taking].rank), KilledBySignal(SIGABRT), Eq(text(taking, held)));
      } else {
        take_both(kNamed[held].rank, kNamed[taking].rank);
      }
    }
  }
}

}  // namespace
}  // namespace warren
