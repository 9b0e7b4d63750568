// Stacks by inspect/stack_trace against the C++ runtime's own unwinder, which exceptions depend on.
// Invariant: wherever both have walked, the frames are the same.
#include "inspect/stack_trace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <regex>
#include <thread>
#include <unwind.h>
#include <vector>

namespace warren::inspect {
namespace {

using Stack = std::vector<uintptr_t>;

#define NOINLINE __attribute__((noinline))

_Unwind_Reason_Code add(_Unwind_Context *context, void *argument) {
  int before = 0;
  const uintptr_t ip = _Unwind_GetIPInfo(context, &before);
  if (ip != 0) static_cast<Stack *>(argument)->push_back(ip - (before == 0));
  return _URC_NO_REASON;
}

Stack ours() {
  void *frames[kMostFrames];
  const unsigned count = capture(frames, kMostFrames);
  Stack stack;
  for (unsigned i = 0; i < count; ++i) stack.push_back(reinterpret_cast<uintptr_t>(frames[i]));
  return stack;
}

// All frames but the two that make the comparison.
NOINLINE void compare(const char *where) {
  Stack theirs, mine;
  _Unwind_Backtrace(add, &theirs);
  mine = ours();
  // The frames of compare() itself are at different calls.
  ASSERT_GE(theirs.size(), 3u) << where;
  ASSERT_GE(mine.size(), 3u) << where;
  const auto caller = std::find(mine.begin(), mine.end(), theirs[1]);
  ASSERT_NE(caller, mine.end()) << where;
  Stack mine_above(caller, mine.end()), theirs_above(theirs.begin() + 1, theirs.end());
  if (theirs_above.size() > mine_above.size() && mine.size() == kMostFrames) theirs_above.resize(mine_above.size());
  EXPECT_EQ(mine_above, theirs_above) << where;
}

int compared = 0;

TEST(StackTrace, HereAndBelowCallsOfLibc) {
  compare("test");
  int numbers[] = {3, 1, 2, 5, 4};
  std::qsort(numbers, 5, sizeof(int), [](const void *a, const void *b) {
    if (compared++ == 0) compare("qsort");
    return *static_cast<const int *>(a) - *static_cast<const int *>(b);
  });
  EXPECT_GT(compared, 0);
}

NOINLINE int deep(int depth) {
  if (depth == 0) {
    compare("deep");
    return 0;
  }
  return deep(depth - 1) + 1;
}

TEST(StackTrace, RecursionDeeperThanAnybodyAsks) {
  EXPECT_EQ(deep(20), 20);
  EXPECT_EQ(deep(300), 300);
}

// The frame is larger than the compiler can know, so it is reached by rbp.
NOINLINE void with_alloca(size_t bytes) {
  auto *volatile room = static_cast<char *>(__builtin_alloca(bytes));
  room[0] = 1;
  compare("alloca");
  room[1] = 1;
}

// The stack is aligned anew, and the caller's frame is found through a slot.
NOINLINE void aligned_anew(size_t bytes) {
  alignas(128) volatile char room[256];
  room[0] = static_cast<char>(bytes);
  auto *volatile more = static_cast<char *>(__builtin_alloca(bytes));
  more[0] = 1;
  compare("aligned");
  more[1] = room[0];
}

TEST(StackTrace, FramesOfUnusualShape) {
  with_alloca(1000);
  aligned_anew(100);
}

TEST(StackTrace, ThroughLargeFunctionsAndTemplates) {
  const std::regex pattern("(a|b)*c");
  std::string text(200, 'a');
  EXPECT_TRUE(std::regex_search(text + "c", pattern));
  std::function<void(int)> again = [&](int depth) { depth == 0 ? compare("function") : again(depth - 1); };
  again(10);
}

TEST(StackTrace, OtherThreads) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([i] {
      for (int round = 0; round < 100; ++round) deep(i * 5);
    });
  }
  for (auto &thread : threads) thread.join();
}

volatile sig_atomic_t handled = 0;

void handler(int) {
  compare("handler");
  handled = handled + 1;
}

void on_stack(void *stack, size_t bytes) {
  stack_t alternate{};
  alternate.ss_sp = stack;
  alternate.ss_size = bytes;
  sigaltstack(&alternate, nullptr);
}

TEST(StackTrace, BelowSignalHandlersOnEitherStack) {
  struct sigaction action{};
  action.sa_handler = handler;
  sigaction(SIGUSR1, &action, nullptr);
  raise(SIGUSR1);
  EXPECT_EQ(handled, 1);
  std::vector<char> stack(256 << 10);
  on_stack(stack.data(), stack.size());
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  raise(SIGUSR1);
  EXPECT_EQ(handled, 2);
  stack_t off{};
  off.ss_flags = SS_DISABLE;
  sigaltstack(&off, nullptr);
}

// Interrupted anywhere, prologues and epilogues included: no crash, and the thread's first frames whenever the walk got through.
volatile sig_atomic_t whole = 0, cut = 0;
uintptr_t outermost = 0;

void tick(int) {
  void *frames[kMostFrames];
  const unsigned count = capture(frames, kMostFrames);
  if (count != 0 && reinterpret_cast<uintptr_t>(frames[count - 1]) == outermost) {
    whole = whole + 1;
  } else {
    cut = cut + 1;
  }
}

TEST(StackTrace, InterruptedAnywhere) {
  outermost = ours().back();
  struct sigaction action{};
  action.sa_handler = tick;
  action.sa_flags = SA_RESTART;
  sigaction(SIGPROF, &action, nullptr);
  timer_t timer;
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGPROF;
  ASSERT_EQ(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer), 0);
  const itimerspec often{{0, 50'000}, {0, 50'000}};
  timer_settime(timer, 0, &often, nullptr);
  const std::regex pattern("(a|b)*c");
  while (whole + cut < 200) {
    std::vector<std::string> words;
    for (int i = 0; i < 100; ++i) words.push_back(std::to_string(i * 7919));
    std::sort(words.begin(), words.end());
    EXPECT_TRUE(std::regex_match("ababac", pattern));
  }
  timer_delete(timer);
  EXPECT_GT(whole, cut);
}

TEST(StackTrace, MostAndSkip) {
  void *all[kMostFrames], *some[4];
  const unsigned count = capture(all, kMostFrames);
  ASSERT_GT(count, 5u);
  ASSERT_EQ(capture(some, 4), 4u);
  EXPECT_EQ(some[1], all[1]);
  ASSERT_EQ(capture(some, 4, 1), 4u);
  EXPECT_EQ(some[0], all[1]);
  EXPECT_EQ(some[3], all[4]);
  EXPECT_EQ(capture(some, 4, 1000), 0u);
}

}  // namespace
}  // namespace warren::inspect
