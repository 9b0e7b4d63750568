// The heap's own thread: allocator/base/os_thread.h. Part of the program of the tests of base/.
// Invariant: each test has a process of its own, and at its end the thread is gone again.
#include "allocator/base/os_thread.h"

#include "allocator/fork.h"
#include "allocator/heap.h"
#include "allocator/page_heap.h"
#include "tests/allocator/own_process.h"
#include "tests/allocator/tasks.h"

#include <atomic>
#include <csignal>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace warren {
namespace {

std::atomic<int> at_stage{0}, may_go_to{0};

void two_stages() {
  at_stage = 1;
  while (may_go_to < 2) sched_yield();
  at_stage = 2;
}

void nothing() {}

void await(const std::atomic<int> &what, int value) {
  while (what < value) sched_yield();
}

TEST(OsThread, OneAtATimeAndAgainAfterwards) {
  in_own_process([] {
    for (int round = 0; round < 50; ++round) {
      at_stage = may_go_to = 0;
      ASSERT_TRUE(os_thread::start(two_stages));
      await(at_stage, 1);
      EXPECT_EQ(tasks(), 2);
      EXPECT_FALSE(os_thread::start(nothing)) << "it still lives";
      may_go_to = 2;
      await_one_task();
    }
  });
}

uint64_t blocked_signals;
char name[16];
bool heap_worked;
std::atomic<int> done{0};

// Only what a thread that libc does not know may do.
void look_around() {
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, nullptr, &blocked_signals, sizeof blocked_signals);
  syscall(SYS_prctl, PR_GET_NAME, name);
  Span *span = page_heap::allocate(PageCount{3}, SpanState::kLarge, SizeClass{0});
  heap_worked = span != nullptr && !page_heap::lock.held_by_me();
  page_heap::free(span);
  done = 1;
}

TEST(OsThread, IsQuietAndNamed) {
  in_own_process([] {
    ASSERT_TRUE(heap::set_up());
    sigset_t before, after;
    sigprocmask(SIG_SETMASK, nullptr, &before);
    ASSERT_TRUE(os_thread::start(look_around));
    await(done, 1);
    sigprocmask(SIG_SETMASK, nullptr, &after);
    for (int signal = 1; signal < 65; ++signal) {
      EXPECT_EQ(sigismember(&before, signal), sigismember(&after, signal)) << "this thread's mask is as it was";
      if (signal == SIGKILL || signal == SIGSTOP) continue;
      EXPECT_NE(blocked_signals >> (signal - 1) & 1, 0u) << signal;
    }
    EXPECT_STREQ(name, "warren-scavenge");
    EXPECT_TRUE(heap_worked);
    await_one_task();
  });
}

TEST(OsThread, AForkedChildMayStartItsOwn) {
  in_own_process([] {
    fork_handlers::install();
    ASSERT_TRUE(heap::set_up());
    ASSERT_TRUE(os_thread::start(two_stages));
    await(at_stage, 1);
    in_own_process([] {
      EXPECT_EQ(tasks(), 1);
      may_go_to = 2;
      at_stage = 0;
      ASSERT_TRUE(os_thread::start(two_stages));
      await(at_stage, 2);
      await_one_task();
    });
    EXPECT_EQ(tasks(), 2) << "the parent's goes on";
    may_go_to = 2;
    await_one_task();
  });
}

}  // namespace
}  // namespace warren
