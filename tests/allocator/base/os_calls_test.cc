// The table of system calls: allocator/base/os_calls.h. Run by base_test.
// Invariant: each call returns what the kernel says, a negative errno for a failure, and errno itself stays.
#include "allocator/base/os_calls.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace warren {
namespace {

class OsCalls : public ::testing::Test {
 protected:
  void SetUp() override { errno = 1789; }
  void TearDown() override { EXPECT_EQ(errno, 1789) << "errno was touched"; }

  static long map(size_t bytes) {
    return os_calls::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  }
  static void *pointer(long result) { return reinterpret_cast<void *>(result); }
};

TEST_F(OsCalls, FailedKnowsErrnosFromAddresses) {
  EXPECT_FALSE(os_calls::failed(0));
  EXPECT_FALSE(os_calls::failed(1));
  EXPECT_TRUE(os_calls::failed(-1));
  EXPECT_TRUE(os_calls::failed(-4095));
  EXPECT_FALSE(os_calls::failed(-4096));
}

TEST_F(OsCalls, MapAndUnmap) {
  const long result = map(8192);
  ASSERT_FALSE(os_calls::failed(result));
  char *memory = static_cast<char *>(pointer(result));
  EXPECT_EQ(memory[0], 0);
  EXPECT_EQ(memory[8191], 0);
  memset(memory, 1, 8192);
  EXPECT_EQ(os_calls::madvise(memory, 8192, MADV_DONTNEED), 0);
  EXPECT_EQ(memory[100], 0);
  EXPECT_EQ(os_calls::munmap(memory, 8192), 0);
}

TEST_F(OsCalls, FailuresAreNegativeErrnos) {
  EXPECT_EQ(map(0), -EINVAL);
  EXPECT_EQ(map(size_t{1} << 62), -ENOMEM);
  EXPECT_EQ(os_calls::munmap(reinterpret_cast<void *>(1), 4096), -EINVAL);
  EXPECT_EQ(os_calls::madvise(nullptr, 4096, 12345), -EINVAL);
  EXPECT_EQ(os_calls::write(-1, "x", 1), -EBADF);
}

TEST_F(OsCalls, MremapMovesToWhereItIsTold) {
  const long from = map(8192);
  const long to = map(8192);
  ASSERT_FALSE(os_calls::failed(from) || os_calls::failed(to));
  strcpy(static_cast<char *>(pointer(from)), "moved");
  EXPECT_EQ(os_calls::mremap(pointer(from), 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, pointer(to)), to);
  EXPECT_STREQ(static_cast<char *>(pointer(to)), "moved");
  EXPECT_EQ(os_calls::munmap(pointer(to), 8192), 0);
}

TEST_F(OsCalls, FutexDoesNotSleepOnAnotherValue) {
  const uint32_t word = 5;
  EXPECT_EQ(os_calls::futex_wait(&word, 4), -EAGAIN);
  EXPECT_EQ(os_calls::futex_wake(&word, 1), 0) << "nobody sleeps";
}

TEST_F(OsCalls, WriteWrites) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(os_calls::write(ends[1], "abc", 3), 3);
  char back[4] = {};
  EXPECT_EQ(read(ends[0], back, 3), 3);
  EXPECT_STREQ(back, "abc");
  close(ends[0]);
  close(ends[1]);
}

TEST_F(OsCalls, PersonalityIsAskedNotSet) {
  const long before = os_calls::personality();
  EXPECT_FALSE(os_calls::failed(before));
  EXPECT_EQ(before, ::personality(0xffffffff));
  EXPECT_EQ(os_calls::personality(), before);
}

// The kernel's, of the calling thread. `turn`: 0 where the kernel has one length for all.
struct Turns {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t turn, deadline, period;
};

Turns turns() {
  Turns mine{};
  EXPECT_EQ(syscall(SYS_sched_getattr, 0, &mine, sizeof mine, 0), 0);
  return mine;
}

TEST_F(OsCalls, ShortTurnsChangeNothingElseAndAreNotInherited) {
  const Turns before = turns();
  Turns after{}, inherited{};
  std::thread([&] {
    os_calls::take_short_turns();
    after = turns();
    std::thread([&] { inherited = turns(); }).join();
  }).join();
  EXPECT_EQ(after.policy, before.policy);
  EXPECT_EQ(after.nice, before.nice);
  if (before.policy == SCHED_OTHER) {
    EXPECT_EQ(after.turn, before.turn == 0 ? 0 : 100'000);
  }
  EXPECT_EQ(inherited.policy, before.policy);
  EXPECT_EQ(inherited.nice, before.nice);
  EXPECT_EQ(inherited.turn, before.turn);
  EXPECT_EQ(turns().turn, before.turn) << "another thread's";
}

}  // namespace
}  // namespace warren
