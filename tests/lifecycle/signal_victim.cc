// Signal handlers that use the heap while the interrupted thread is inside it, and stops and continues from
// outside. Run by lifecycle_test.
// Invariant: illegal but common uses do not hang, crash, or give one block to two holders. The scenarios
// named interrupting_* are beyond what glibc promises, and the driver skips them in control runs.
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>

#include "victim.h"

namespace {

std::atomic<int> g_signals{0};
std::atomic<unsigned> g_handler_seed{1};

// Takes, checks and returns blocks of the classes the main loop uses as well, so that handler and loop meet
// in the same bins. A handler that interrupted the heap may be refused memory.
std::atomic<int> g_refused{0};
void balanced_use() {
  unsigned char *blocks[12];
  const auto mark = static_cast<unsigned char>(g_handler_seed.fetch_add(1));
  const auto size_of = [](std::size_t i) { return 16 + i * 40 + i * i * i * 20; };
  for (std::size_t i = 0; i < 12; ++i) {
    blocks[i] = static_cast<unsigned char *>(victim::take(size_of(i)));
    if (blocks[i] == nullptr) {
      g_refused.fetch_add(1);
      continue;
    }
    blocks[i][0] = blocks[i][size_of(i) - 1] = mark;
  }
  for (std::size_t i = 0; i < 12; ++i) {
    if (blocks[i] == nullptr) continue;
    VICTIM_CHECK(blocks[i][0] == mark && blocks[i][size_of(i) - 1] == mark);
    victim::give_back(blocks[i]);
  }
}
void report_refusals() {
  std::printf("%d signals, %d requests refused in handlers\n", g_signals.load(), g_refused.load());
}
void handler_uses_heap(int) {
  balanced_use();
  g_signals.fetch_add(1);
}

void interrupting_one_thread() {
  victim::tick_every(1'000, handler_uses_heap);
  const int wanted = victim::scaled(2'000);
  for (std::uint64_t i = 1; g_signals.load() < wanted; ++i) victim::exercise_heap(100, i);
  victim::stop_ticking();
  report_refusals();
  VICTIM_CHECK(g_refused.load() == 0);  // one handler at a time needs less than any pool would hold
}

void *allocate_until_told(void *raw) {
  auto *stop = static_cast<std::atomic<bool> *>(raw);
  for (std::uint64_t i = 1; !stop->load(); ++i) victim::exercise_heap(100, i * 31);
  return nullptr;
}

void interrupting_several_threads() {
  struct sigaction action {};
  action.sa_handler = handler_uses_heap;
  action.sa_flags = SA_RESTART;
  VICTIM_CHECK(sigaction(SIGUSR1, &action, nullptr) == 0);
  std::atomic<bool> stop{false};
  pthread_t threads[3];
  for (auto &thread : threads) VICTIM_CHECK(pthread_create(&thread, nullptr, allocate_until_told, &stop) == 0);
  const int wanted = victim::scaled(6'000);
  while (g_signals.load() < wanted) {
    const int before = g_signals.load();
    for (auto thread : threads) pthread_kill(thread, SIGUSR1);
    while (g_signals.load() == before) sched_yield();
  }
  stop.store(true);
  for (auto thread : threads) pthread_join(thread, nullptr);
  report_refusals();
}

// Frequent signals whose handlers leave the heap alone: must be unnoticeable.
void ticking_clock() {
  victim::tick_every(200, [](int) { g_signals.fetch_add(1); });
  const int wanted = victim::scaled(3'000);
  for (std::uint64_t i = 1; g_signals.load() < wanted; ++i) victim::exercise_heap(200, i);
  victim::stop_ticking();
}

void stopped_and_continued() {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    for (std::uint64_t i = 1; i <= 400; ++i) victim::exercise_heap(100, i);
    _exit(0);
  }
  int status = 0;
  for (;;) {
    kill(child, SIGSTOP);
    VICTIM_CHECK(waitpid(child, &status, WUNTRACED) == child);
    if (!WIFSTOPPED(status)) break;
    kill(child, SIGCONT);
    sched_yield();
  }
  VICTIM_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

constexpr victim::Scenario kScenarios[] = {
    {"interrupting_one_thread", interrupting_one_thread},
    {"interrupting_several_threads", interrupting_several_threads},
    {"ticking_clock", ticking_clock},
    {"stopped_and_continued", stopped_and_continued},
};

}  // namespace

int main(int argc, char **argv) { return victim::play(argc, argv, kScenarios); }
