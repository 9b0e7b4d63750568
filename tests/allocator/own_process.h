// Runs the body of a test in a child process, so that it meets a heap that nobody has used.
// Run by the tests of the heap, whose state is one to a process. Invariant: a failed expectation in the child, a signal,
// a hang and an early exit all fail the test in the parent.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <sys/wait.h>
#include <unistd.h>

namespace warren {

template <class Body>
void in_own_process(Body body) {
  constexpr unsigned kWatchdogSeconds = 120;
  constexpr int kFailed = 1, kNotFinished = 2;
  fflush(nullptr);
  const pid_t child = fork();
  ASSERT_NE(child, -1);
  if (child == 0) {
    alarm(kWatchdogSeconds);
    body();
    fflush(nullptr);
    _exit(::testing::Test::HasFailure() ? kFailed : ::testing::Test::IsSkipped() ? kNotFinished : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "ended by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace warren
