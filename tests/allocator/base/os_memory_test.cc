// Memory in its four states: allocator/base/os_memory.h. Run by base_test.
// Invariant: what a state promises (faults, zeros, contents) is looked at, not inferred from a result; errno stays.
#include "allocator/base/os_memory.h"

#include "allocator/base/address.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <sys/mman.h>
#include <sys/resource.h>
#include <utility>
#include <vector>

namespace warren {
namespace {

using os_memory::MoveResult;
using os_memory::PrepareResult;

constexpr size_t kBytes = size_t{1} << 20;

class OsMemory : public ::testing::Test {
 protected:
  void SetUp() override { errno = 1789; }
  void TearDown() override {
    EXPECT_EQ(errno, 1789) << "errno was touched";
    for (const auto &[start, bytes] : mapped_) munmap(start, bytes);
  }

  char *reserved(size_t bytes, size_t align = kPageSize) {
    void *start = os_memory::reserve(bytes, align);
    if (start != nullptr) mapped_.emplace_back(start, bytes);
    return static_cast<char *>(start);
  }
  char *prepared(size_t bytes) {
    char *start = reserved(bytes);
    EXPECT_EQ(os_memory::prepare(start, bytes, true), PrepareResult::kOk);
    return start;
  }
  static bool all_zero(const char *start, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) {
      if (start[i] != 0) return false;
    }
    return true;
  }

 private:
  std::vector<std::pair<void *, size_t>> mapped_;
};
using OsMemoryDeathTest = OsMemory;

TEST_F(OsMemory, ReserveAligns) {
  for (size_t align = kOsPageSize; align <= (size_t{64} << 20); align *= 4) {
    char *start = reserved(kBytes, align);
    ASSERT_NE(start, nullptr);
    EXPECT_EQ(address_of(start) % align, 0u) << align;
  }
}

TEST_F(OsMemory, ReserveKeepsNothingButTheRange) {
  char *start = reserved(kBytes, size_t{16} << 20);
  ASSERT_NE(start, nullptr);
  // Its neighbours are free for others: they can be mapped without replacing anything.
  EXPECT_EQ(os_memory::prepare(start + kBytes, kOsPageSize, false), PrepareResult::kOk);
  EXPECT_EQ(os_memory::prepare(start, kOsPageSize, false), PrepareResult::kTaken);
  munmap(start + kBytes, kOsPageSize);
  errno = 1789;
}

TEST_F(OsMemory, ReserveOfTheImpossibleIsNull) { EXPECT_EQ(os_memory::reserve(size_t{1} << 60, kPageSize), nullptr); }

TEST_F(OsMemoryDeathTest, ReservedMemoryFaults) {
  char *start = reserved(kBytes);
  EXPECT_EXIT(*static_cast<volatile char *>(start) = 1, ::testing::KilledBySignal(SIGSEGV), "");
}

TEST_F(OsMemory, PreparedMemoryIsZeroAndWritable) {
  char *start = prepared(kBytes);
  EXPECT_TRUE(all_zero(start, kBytes));
  memset(start, 0x77, kBytes);
  EXPECT_EQ(os_memory::prepare(start, kBytes, true), PrepareResult::kOk) << "exclusive: mapped over";
  EXPECT_TRUE(all_zero(start, kBytes));
}

TEST_F(OsMemory, WhatIsOnlyAgreedUponIsNotMappedOver) {
  char *start = prepared(4 * kOsPageSize);
  memset(start, 0x77, 4 * kOsPageSize);
  EXPECT_EQ(os_memory::prepare(start, kOsPageSize, false), PrepareResult::kTaken);
  munmap(start, kOsPageSize);
  errno = 1789;
  EXPECT_EQ(os_memory::prepare(start, 4 * kOsPageSize, false), PrepareResult::kTaken) << "one page of it is free";
  EXPECT_EQ(os_memory::prepare(start, kOsPageSize, false), PrepareResult::kOk);
  EXPECT_EQ(start[kOsPageSize], 0x77) << "the neighbour is whole";
  EXPECT_EQ(start[0], 0);
}

TEST_F(OsMemory, WhatIsNoLongerPreparedIsReservedAgain) {
  char *start = prepared(2 * kPageSize);
  memset(start, 1, 2 * kPageSize);
  os_memory::unprepare(start, kPageSize, true);
  EXPECT_EQ(os_memory::prepare(start, kPageSize, false), PrepareResult::kTaken) << "still ours";
  ASSERT_EQ(os_memory::prepare(start, kPageSize, true), PrepareResult::kOk);
  EXPECT_EQ(start[0], 0);
  EXPECT_EQ(start[kPageSize], 1);
  os_memory::unprepare(start, kPageSize, false);
  EXPECT_EQ(os_memory::prepare(start, kPageSize, false), PrepareResult::kOk) << "nobody's";
}

TEST_F(OsMemory, ALimitIsNoMemory) {
  rlimit before;
  getrlimit(RLIMIT_AS, &before);
  rlimit tight = before;
  tight.rlim_cur = kBytes;
  ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
  const PrepareResult result = os_memory::prepare(at_address<void>(uintptr_t{0x1800} << 32), 64 * kBytes, false);
  void *const none = os_memory::reserve(64 * kBytes, kPageSize);
  setrlimit(RLIMIT_AS, &before);
  EXPECT_EQ(result, PrepareResult::kNoMemory);
  EXPECT_EQ(none, nullptr);
}

TEST_F(OsMemory, ReleasedMemoryReadsAsZero) {
  char *start = prepared(kBytes);
  memset(start, 0x77, kBytes);
  EXPECT_TRUE(os_memory::release(start + kOsPageSize, kBytes / 2));
  EXPECT_EQ(start[0], 0x77);
  EXPECT_TRUE(all_zero(start + kOsPageSize, kBytes / 2));
  EXPECT_EQ(start[kOsPageSize + kBytes / 2], 0x77);
}

TEST_F(OsMemory, LockedPagesAreNotReleased) {
  char *start = prepared(4 * kOsPageSize);
  start[0] = 0x77;
  if (mlock(start, 4 * kOsPageSize) != 0) {
    errno = 1789;
    GTEST_SKIP() << "mlock is not allowed here";
  }
  EXPECT_FALSE(os_memory::release(start, 4 * kOsPageSize));
  munlock(start, 4 * kOsPageSize);
}

TEST_F(OsMemory, MovedPagesLeaveZeros) {
  char *from = prepared(kBytes);
  char *to = prepared(kBytes);
  memset(from, 0x11, kBytes);
  memset(to, 0x22, kBytes);
  ASSERT_EQ(os_memory::move_pages(from, to, kBytes / 2), MoveResult::kMoved);
  EXPECT_TRUE(all_zero(from, kBytes / 2));
  EXPECT_EQ(from[kBytes / 2], 0x11) << "what was not to be moved stays";
  EXPECT_EQ(to[0], 0x11);
  EXPECT_EQ(to[kBytes / 2 - 1], 0x11);
  EXPECT_EQ(to[kBytes / 2], 0x22);
  memset(from, 0x33, kBytes);  // still usable
  EXPECT_EQ(to[0], 0x11);
}

TEST_F(OsMemory, WhereNothingIsMappedNothingMoves) {
  char *from = prepared(kBytes);
  char *to = prepared(kBytes);
  memset(to, 0x22, kBytes);
  munmap(from, kBytes);
  EXPECT_EQ(os_memory::move_pages(from, to, kBytes), MoveResult::kNotMoved);
  EXPECT_TRUE(all_zero(to, kBytes)) << "mapped, and reads as zero";
}

}  // namespace
}  // namespace warren
