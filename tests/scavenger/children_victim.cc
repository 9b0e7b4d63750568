// children_victim: processes made while the scavenger works. Run by scavenger_test.py:
//   rest       a forked child frees much and comes to rest by itself, as does its parent
//   storm      forks again and again in the middle of giving back; each child uses the whole heap
//   programs   exec in a child of vfork and posix_spawn, then exec in the process itself, while the thread works
//   exits      exit() and _exit() while the thread is made, waits and works: 1000 processes
//   held       what exec starts: prints "held"
// Invariant: every child exits 0, and the parent's blocks keep their bytes.
#include "observe.h"

#include <spawn.h>

using namespace observe;

extern char **environ;

namespace {

void rest(int, char **) {
  use_heap(1 * kMiB);
  const size_t before = resident_mib();
  Hoard parents(100000, 150 * kMiB);
  parents.free_most();
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    REQUIRE(tasks() == 1);
    Hoard hoard(1000, 300 * kMiB);
    hoard.free_most();
  }
  wait_until("resident memory is near what it was at the start", [&] { return resident_mib() <= before + kKeptMiB; });
  wait_until("the thread has ended", [] { return tasks() == 1; });
  REQUIRE(statistics().scavenger_ns != 0);  // a child counts from 0
  parents.check_kept();
  use_heap(20 * kMiB);
  parents.free_kept();
  if (child == 0) _exit(0);
  wait_for_child(child);
}

void storm(int, char **) {
  Hoard kept(5000, 20 * kMiB);
  kept.free_most();
  int forks = 0;
  uint64_t scavenged = 0;
  for (int round = 0; round < 12; ++round) {
    Hoard hoard(round % 2 == 0 ? 2000000 : 3000, 60 * kMiB);
    hoard.free_all();
    const uint64_t before = scavenged;
    // While something happens, and a few times more.
    for (int idle = 0; idle < 4; ++forks) {
      const pid_t child = fork();
      REQUIRE(child >= 0);
      if (child == 0) {
        kept.check_kept();
        use_heap(4 * kMiB);
        if (forks % 4 == 0) v_trim(0);
        Hoard own(40000, 2 * kMiB);
        own.free_all();
        _exit(0);
      }
      wait_for_child(child);
      const uint64_t now = statistics().scavenged_bytes;
      idle = now == scavenged ? idle + 1 : 0;
      scavenged = now;
    }
    if (round == 0) wait_until("something was given back", [&] { return statistics().scavenged_bytes > before; });
  }
  kept.free_kept();
  SAY("forks=%d scavenged=%llu\n", forks, static_cast<unsigned long long>(scavenged));
}

char g_true[] = "/bin/true";
char *g_true_argv[] = {g_true, nullptr};

void programs(int, char **argv) {
  Hoard kept(5000, 20 * kMiB);
  kept.free_most();
  for (int round = 0; round < 40; ++round) {
    Hoard hoard(500000, 48 * kMiB);
    hoard.free_all();
    pid_t child = -1;
    if (round % 2 == 0) {
      REQUIRE(posix_spawn(&child, g_true, nullptr, nullptr, g_true_argv, environ) == 0);
    } else {
      child = vfork();
      if (child == 0) {
        for (size_t size = 10; size < 3000000; size *= 7) v_free(v_malloc(size));
        execv(g_true, g_true_argv);
        _exit(9);
      }
      REQUIRE(child > 0);
    }
    wait_for_child(child);
    kept.check_kept();
  }
  // Half of the memory is to go yet when the process becomes another program.
  Hoard hoard(500000, 200 * kMiB);
  hoard.free_all();
  wait_until("the thread works", [] { return statistics().scavenged_bytes > 20 * kMiB; });
  char scenario[] = "held";
  char *next[] = {argv[0], scenario, nullptr};
  execv("/proc/self/exe", next);
  BROKEN("exec: errno %d", errno);
}

void exits(int, char **) {
  for (int round = 0; round < 1000; ++round) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      // Most leave it untouched: what counts is that it may have been written to.
      void *block = v_malloc(40 * kMiB);
      REQUIRE(block != nullptr);
      if (round % 8 == 0) memset(block, 1, 40 * kMiB);
      v_free(block);
      if (round % 8 < 2) pause_ms(round % 32);  // a first look comes after 10 ms
      if (round % 2 == 0) exit(0);
      _exit(0);
    }
    wait_for_child(child);
  }
}

void nothing(int, char **) { REQUIRE(tasks() == 1); }

constexpr Scenario kScenarios[] = {
    {"rest", rest}, {"storm", storm}, {"programs", programs}, {"exits", exits}, {"held", nothing},
};

}  // namespace

int main(int argc, char **argv) { return play(argc, argv, kScenarios); }
