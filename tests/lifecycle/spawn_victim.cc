// Starts other programs in every way there is, thousands of times, while threads allocate. Run by
// lifecycle_test; the programs started inherit the preload.
// Invariant: every program started does its work, and the heap of the starter stays intact even where a
// child runs in the starter's own memory (vfork).
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "victim.h"

extern char **environ;

namespace {

std::atomic<bool> g_stop{false};

void *keep_allocating(void *raw) {
  for (std::uint64_t i = 1; !g_stop.load(std::memory_order_relaxed); ++i) {
    victim::exercise_heap(20, i * 1'000 + reinterpret_cast<std::uintptr_t>(raw));
    if (i % 64 == 0) usleep(500);  // leaves the processors to the programs being started
  }
  return nullptr;
}

template <class F>
void under_load(int threads, F body) {
  pthread_t started[8];
  g_stop.store(false);
  for (int i = 0; i < threads; ++i) {
    void *number = reinterpret_cast<void *>(static_cast<std::uintptr_t>(i));
    VICTIM_CHECK(pthread_create(&started[i], nullptr, keep_allocating, number) == 0);
  }
  body();
  g_stop.store(true);
  for (int i = 0; i < threads; ++i) pthread_join(started[i], nullptr);
}

char g_true[] = "/bin/true";
char *g_true_argv[] = {g_true, nullptr};

void posix_spawn_storm() {
  under_load(3, [] {
    for (int i = 0; i < victim::scaled(2'000); ++i) {
      pid_t pid = 0;
      VICTIM_CHECK(posix_spawn(&pid, g_true, nullptr, nullptr, g_true_argv, environ) == 0);
      victim::expect_child_succeeds(pid);
    }
  });
}

void system_storm() {
  under_load(3, [] {
    for (int i = 0; i < victim::scaled(200); ++i) VICTIM_CHECK(system("exit 3") == 3 << 8);
  });
}

void popen_storm() {
  under_load(3, [] {
    for (int i = 0; i < victim::scaled(200); ++i) {
      FILE *out = popen("echo some words; exit 4", "r");
      VICTIM_CHECK(out != nullptr);
      char *line = nullptr;
      std::size_t capacity = 0;
      VICTIM_CHECK(getline(&line, &capacity, out) == 11 && std::strcmp(line, "some words\n") == 0);
      std::free(line);
      VICTIM_CHECK(pclose(out) == 4 << 8);
    }
  });
}

// The child runs on the parent's heap until it execs: what it leaves there is the parent's.
void *volatile g_left_by_child;
void vfork_child_allocates() {
  void *parents[50];
  for (std::size_t i = 0; i < 50; ++i) parents[i] = victim::make_cookie(i * 700, i);
  for (int i = 0; i < victim::scaled(300); ++i) {
    const pid_t pid = vfork();
    if (pid == 0) {
      victim::exercise_heap(30, 8);
      g_left_by_child = victim::make_cookie(2'000, 4);
      victim::check_and_free(parents[7]);
      parents[7] = victim::make_cookie(900, 7);
      execv(g_true, g_true_argv);
      _exit(9);
    }
    victim::expect_child_succeeds(pid);
    victim::check_and_free(g_left_by_child);
    for (auto *block : parents) VICTIM_CHECK(victim::cookie_intact(block));
    victim::exercise_heap(30, static_cast<std::uint64_t>(i) + 1);
  }
  for (auto *block : parents) victim::check_and_free(block);
}
void vfork_child_allocates_under_load() { under_load(3, vfork_child_allocates); }

// A command line and an environment near the limit; the child checks that all of it arrived.
void huge_arguments() {
  constexpr std::size_t kWords = 10'000;
  auto **argv = static_cast<char **>(victim::take((kWords + 4) * sizeof(char *)));
  char shell[] = "/bin/sh", option[] = "-c", script[] = "test $# = 9999";
  argv[0] = shell;
  argv[1] = option;
  argv[2] = script;
  char *word = static_cast<char *>(victim::take(100));
  std::memset(word, 'w', 99);
  word[99] = 0;
  for (std::size_t i = 0; i < kWords; ++i) argv[3 + i] = word;
  argv[3 + kWords] = nullptr;
  for (int i = 0; i < 20; ++i) {
    pid_t pid = 0;
    VICTIM_CHECK(posix_spawn(&pid, shell, nullptr, nullptr, argv, environ) == 0);
    victim::expect_child_succeeds(pid);
  }
  victim::give_back(word);
  victim::give_back(argv);
}

constexpr victim::Scenario kScenarios[] = {
    {"posix_spawn_storm", posix_spawn_storm},
    {"system_storm", system_storm},
    {"popen_storm", popen_storm},
    {"vfork_child_allocates", vfork_child_allocates},
    {"vfork_child_allocates_under_load", vfork_child_allocates_under_load},
    {"huge_arguments", huge_arguments},
};

}  // namespace

int main(int argc, char **argv) { return victim::play(argc, argv, kScenarios); }
