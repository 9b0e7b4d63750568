// Forks from a signal handler that interrupts malloc, in a process that has never had a second thread.
// Run by lifecycle_test. (Not part of fork_victim: its early library starts a thread, and glibc gives this
// guarantee to processes of one thread only.)
// Invariant: neither parent nor child hangs or finds a broken heap, whether the child ends at once or
// returns from the handler into the interrupted malloc and goes on.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "victim.h"

namespace {

constexpr unsigned kChildWatchdogSeconds = 20;
constexpr int kForkFailed = 8;
constexpr int kChildFailed = 9;
constexpr int kRoundsAsChild = 5;

std::atomic<int> g_forks{0};
volatile sig_atomic_t g_in_child;

void await(pid_t child) {
  int status = 0;
  if (child < 0) _exit(kForkFailed);
  if (waitpid(child, &status, 0) != child || status != 0) _exit(kChildFailed);
  g_forks.fetch_add(1);
}

void fork_and_end(int) {
  const int saved = errno;
  const pid_t child = fork();
  if (child == 0) _exit(0);
  await(child);
  errno = saved;
}

void fork_and_go_on(int) {
  const int saved = errno;
  const pid_t child = fork();
  if (child == 0) {
    g_in_child = 1;
    alarm(kChildWatchdogSeconds);
    errno = saved;
    return;
  }
  await(child);
  errno = saved;
}

void allocate_under(void (*handler)(int)) {
  victim::tick_every(1'000, handler);
  const int wanted = victim::scaled(1'000);
  int rounds_as_child = 0;
  for (std::uint64_t i = 1; g_forks.load() < wanted; ++i) {
    victim::exercise_heap(20, i);
    if (g_in_child != 0 && ++rounds_as_child > kRoundsAsChild) _exit(0);
  }
  // A child that the last tick makes has no timer to stop.
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, nullptr);
  if (g_in_child != 0) _exit(0);
  victim::stop_ticking();
}

void child_ends_at_once() { allocate_under(fork_and_end); }
void child_goes_on() { allocate_under(fork_and_go_on); }

constexpr victim::Scenario kScenarios[] = {
    {"child_ends_at_once", child_ends_at_once},
    {"child_goes_on", child_goes_on},
};

}  // namespace

int main(int argc, char **argv) { return victim::play(argc, argv, kScenarios); }
