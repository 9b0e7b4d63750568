// What gc/mutation.h does when calls fail, descriptors are closed by the program, or a sandbox comes up; and its
// choice. Invariant: whatever fails, a page that was stored into is visited.
#include "gc/mutation.h"

#include "tests/allocator/base/captured_fd.h"
#include "tests/gc/watched_memory.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <set>
#include <string>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace warren::gc {
namespace {

ON_EACH_MECHANISM(Mutation);

// --- descriptors ---

TEST_P(Mutation, DescriptorsAreOutOfTheWay) {
  for (const char *what : {"userfaultfd", "/pagemap", "/clear_refs"}) {
    for (const int fd : descriptors_of(what)) {
      EXPECT_GE(fd, 20) << what;
      EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC) << what;
    }
  }
  mutation::reset_in_child();
  for (const char *what : {"userfaultfd", "/pagemap", "/clear_refs"}) EXPECT_TRUE(descriptors_of(what).empty()) << what;
}

TEST_P(Mutation, ClosedDescriptorsAreMissedAndOpenedAnew) {
  const Memory memory(64);
  memory.touch();
  for (const auto &victims :
       {std::set<const char *>{"userfaultfd"}, {"/pagemap"}, {"userfaultfd", "/pagemap", "/clear_refs"}}) {
    ASSERT_TRUE(watch(memory));
    EXPECT_EQ(fetch(memory, true).pages, Pages{});
    bool any = false;
    for (const char *what : victims) {
      for (const int fd : descriptors_of(what)) any |= close(fd) == 0;
    }
    memory.store(9);
    EXPECT_TRUE(fetch(memory, false).pages.contains(9));
    memory.store(10);
    EXPECT_TRUE(fetch(memory, true).pages.contains(10));
    memory.store(11);
    EXPECT_TRUE(fetch(memory, false).pages.contains(11));
    ASSERT_TRUE(watch(memory)) << any;
    if (clears_) {
      EXPECT_EQ(fetch(memory, false).pages, Pages{});
    }
    memory.store(12);
    EXPECT_TRUE(fetch(memory, false).pages.contains(12));
    mutation::unwatch();
  }
  EXPECT_LE(descriptors_of("userfaultfd").size(), 1u);
  EXPECT_LE(descriptors_of("/pagemap").size(), 1u);
}

TEST_P(Mutation, ANumberThatTheProgramUsesByNowIsNotClosed) {
  const Memory memory(64);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  std::set<int> reused;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  for (const char *what : {"userfaultfd", "/pagemap", "/clear_refs"}) {
    for (const int fd : descriptors_of(what)) {
      ASSERT_EQ(dup2(ends[0], fd), fd);
      reused.insert(fd);
    }
  }
  memory.store(9);
  if (!reused.empty()) {
    EXPECT_TRUE(fetch(memory, true).pages.contains(9));
    mutation::unwatch();
    ASSERT_TRUE(watch(memory));
    memory.store(9);
    EXPECT_TRUE(fetch(memory, true).pages.contains(9));
  }
  mutation::reset_in_child();
  for (const int fd : reused) EXPECT_EQ(close(fd), 0) << "still the program's";
  close(ends[0]);
  close(ends[1]);
}

// --- failures ---

std::set<int> open_descriptors() {
  std::set<int> found;
  for (int fd = 0; fd < 1024; ++fd) {
    if (fcntl(fd, F_GETFD) != -1) found.insert(fd);
  }
  return found;
}

TEST_P(Mutation, EachFailingCallOfTheSetUpLeadsToStopping) {
  mutation::reset_in_child();
  const std::set<int> before = open_descriptors();
  const Memory memory(16);
  memory.touch();
  for (const bool all_after : {false, true}) {
    // A kernel that closes pages and opens none any more is not survived.
    if (all_after && GetParam() == Choice::kProtect) break;
    unsigned stopped = 0, number = 0;
    for (bool reached = true; reached && number < 200;) {
      start_afresh();
      faults.failing = ++number;
      faults.all_after = all_after;
      std::string text;
      const Mechanism got = set_up_quietly(text);
      reached = faults.calls >= number;
      faults = {};
      if (got == Mechanism::kNone) {
        ++stopped;
        EXPECT_NE(text.find(std::string("warren: gc_tracking=") + mutation::name(static_cast<Mechanism>(GetParam()))),
                  std::string::npos);
        EXPECT_FALSE(watch(memory));
        EXPECT_EQ(fetch(memory, true).pages, all(16));
        if (GetParam() != Choice::kProtect) {
          EXPECT_EQ(open_descriptors(), before) << "call " << number;
        }
      } else {
        EXPECT_EQ(text, "");
        ASSERT_TRUE(watch(memory)) << "call " << number << " did not matter";
        memory.store(2);
        EXPECT_EQ(fetch(memory, true).pages, Pages{2});
      }
    }
    EXPECT_GT(stopped, 0u);
    EXPECT_LT(number, 200u) << "the set-up has an end";
  }
}

TEST_P(Mutation, FailingCallsOfACycleHideNoStore) {
  const Memory memory(32);
  for (const long error : {EPERM, EBADF, ENOMEM}) {
    if (played.playing() && error != EPERM) break;  // it is slow
    for (const bool all_after : {false, true}) {
      bool reached = true;
      for (unsigned number = 1; reached && number < 200; ++number) {
        SCOPED_TRACE(testing::Message() << "call " << number << (all_after ? " and all after" : "") << " error "
                                        << error);
        start_afresh();
        ASSERT_EQ(mutation::set_up(GetParam()), static_cast<Mechanism>(GetParam()));
        memory.touch();
        faults.calls = 0;
        faults.failing = number;
        faults.all_after = all_after;
        faults.error = error;
        const bool watched = watch(memory);
        if (GetParam() == Choice::kProtect && all_after)
          faults.failing = 0;  // a store that cannot be opened ends the program
        for (size_t i = 0; watched && i < 3; ++i) {
          memory.store(i);
          EXPECT_TRUE(fetch(memory, true).pages.contains(i));
        }
        if (watched) {
          memory.store(9);
          EXPECT_TRUE(fetch(memory, false).pages.contains(9));
        }
        mutation::unwatch();
        reached = faults.calls >= number;
        faults = {};
        memory.touch();
        if (GetParam() != Choice::kProtect) {
          EXPECT_EQ(getrandom(memory.page(0), 256, 0), 256);
        }
      }
      EXPECT_FALSE(reached && !all_after);
    }
  }
}

TEST_P(Mutation, ASandboxThatComesUpEndsIt) {
  if (GetParam() == Choice::kProtect) GTEST_SKIP() << "its calls are every program's";
  const Memory memory(16);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  mutation::unwatch();
  faults.sandboxed = true;
  const unsigned long calls = faults.calls;
  EXPECT_FALSE(watch(memory));
  EXPECT_EQ(faults.calls, calls) << "no call that the sandbox may end the process for";
  EXPECT_EQ(mutation::mechanism(), Mechanism::kNone);
  EXPECT_EQ(fetch(memory, true).pages, all(16));
  faults.sandboxed = false;
  for (const char *what : {"userfaultfd", "/pagemap", "/clear_refs"}) {
    for (const int fd : descriptors_of(what)) close(fd);  // left open on purpose
  }
}

// In the next cycle, after one whose old objects have stayed watched.
TEST_P(Mutation, ASandboxThatComesUpBetweenCyclesIsAskedNothing) {
  if (GetParam() == Choice::kProtect) GTEST_SKIP() << "its calls are every program's";
  const Memory memory(16);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  faults.sandboxed = true;
  const unsigned long calls = faults.calls;
  EXPECT_EQ(mutation::set_up(GetParam()), Mechanism::kNone);
  EXPECT_EQ(fetch(memory, true).pages, all(16));
  EXPECT_EQ(faults.calls, calls) << "no call that the sandbox may end the process for";
  faults.sandboxed = false;
  for (const char *what : {"userfaultfd", "/pagemap", "/clear_refs"}) {
    for (const int fd : descriptors_of(what)) close(fd);  // left open on purpose
  }
}

// --- the choice ---

TEST_F(MutationChoice, AutomaticallyNeverProtects) {
  const Mechanism chosen = mutation::set_up(Choice::kAuto);
  EXPECT_NE(chosen, Mechanism::kProtect);
  EXPECT_EQ(mutation::mechanism(), chosen);
  EXPECT_EQ(mutation::set_up(Choice::kStop), chosen) << "once";
  start_afresh();
  faults.failing = 1;
  faults.all_after = true;
  CapturedFd stderr_text;
  EXPECT_EQ(mutation::set_up(Choice::kAuto), Mechanism::kNone);
  EXPECT_EQ(stderr_text.text(), "") << "nobody asked for a certain one";
}

// Or the tests of the first choice would be skipped where it is broken.
TEST_F(MutationChoice, WhatTheKernelHasIsTaken) {
  const int fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = 1 << 15 | 1 << 13;  // WP_ASYNC, WP_UNPOPULATED
  const bool has_it = fd != -1 && ioctl(fd, UFFDIO_API, &api) == 0;
  close(fd);
  if (!has_it) GTEST_SKIP() << "a kernel before 6.7, or a sandbox";
  EXPECT_EQ(mutation::set_up(Choice::kAuto), Mechanism::kUserfault);
}

// A limit that was reached when it was first asked for.
TEST_F(MutationChoice, IsTriedAgainWhenDescriptorsAreToBeHad) {
  const Mechanism usual = mutation::set_up(Choice::kAuto);
  start_afresh();
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{0, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const Mechanism first = mutation::set_up(Choice::kAuto);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(first, Mechanism::kNone);
  EXPECT_EQ(mutation::set_up(Choice::kAuto), usual);
}

TEST_F(MutationChoice, StoppingKnowsNothing) {
  EXPECT_EQ(mutation::set_up(Choice::kStop), Mechanism::kNone);
  const Memory memory(4);
  EXPECT_FALSE(watch(memory));
  EXPECT_FALSE(mutation::cover(memory.range()));
  EXPECT_EQ(fetch(memory, true).pages, all(4));
  mutation::unwatch();
}

TEST_F(MutationChoice, Names) {
  EXPECT_STREQ(mutation::name(Mechanism::kNone), "stop");
  EXPECT_STREQ(mutation::name(Mechanism::kUserfault), "userfault");
  EXPECT_STREQ(mutation::name(Mechanism::kSoftDirty), "soft_dirty");
  EXPECT_STREQ(mutation::name(Mechanism::kProtect), "mprotect");
}

}  // namespace
}  // namespace warren::gc
