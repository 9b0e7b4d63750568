// bystander_victim: what a program does with its threads and signals is as if the scavenger's thread were not there.
// Run by scavenger_test.py with scavenge_delay=3600000, so that the thread lives on, asleep:
//   main_leaves     the main thread calls pthread_exit: the process ends with status 0
//   others_stay     likewise, but a thread of the program's works on and ends later
//   signals         signals to the process, blocked or not, are never handled on the scavenger's thread
//   credentials     setresuid and setgroups return
//   single          libc goes on to take the process for one of a single thread
// Invariant: the thread is there when the scenario begins.
#include "observe.h"

#include <grp.h>
#include <pthread.h>
#include <signal.h>

using namespace observe;

namespace {

void make_thread() {
  Hoard hoard(1000000, 64 * kMiB);
  hoard.free_all();
  REQUIRE(tasks() == 2);
}

[[noreturn]] void leave() {
  SAY("held\n");
  pthread_exit(nullptr);
}

void main_leaves(int, char **) {
  make_thread();
  leave();
}

void *work_on(void *) {
  use_heap(20 * kMiB);
  pause_ms(50);
  use_heap(20 * kMiB);
  return nullptr;
}

void others_stay(int, char **) {
  make_thread();
  pthread_t thread;
  REQUIRE(pthread_create(&thread, nullptr, work_on, nullptr) == 0);
  REQUIRE(pthread_detach(thread) == 0);
  leave();
}

volatile sig_atomic_t g_handled, g_elsewhere;
pid_t g_main;

void note_thread(int) {
  g_handled = g_handled + 1;
  if (syscall(SYS_gettid) != g_main) g_elsewhere = g_elsewhere + 1;
}

void signals(int, char **) {
  g_main = static_cast<pid_t>(syscall(SYS_gettid));
  const int kinds[] = {SIGUSR1, SIGCHLD, SIGTERM, SIGPROF, SIGRTMIN + 3};
  struct sigaction action = {};
  action.sa_handler = note_thread;
  sigset_t all;
  sigemptyset(&all);
  for (const int kind : kinds) {
    REQUIRE(sigaction(kind, &action, nullptr) == 0);
    sigaddset(&all, kind);
  }
  make_thread();
  for (int i = 0; i < 500; ++i) kill(getpid(), kinds[i % 5]);
  REQUIRE(g_elsewhere == 0);
  REQUIRE(g_handled == 500);
  // Blocked here, a signal goes to whatever thread would take it.
  REQUIRE(pthread_sigmask(SIG_BLOCK, &all, nullptr) == 0);
  for (const int kind : kinds) kill(getpid(), kind);
  for (int i = 0; i < 20; ++i) {
    pause_ms(2);
    REQUIRE(g_handled == 500);
  }
  sigset_t pending;
  REQUIRE(sigpending(&pending) == 0);
  for (const int kind : kinds) REQUIRE(sigismember(&pending, kind) == 1);
  REQUIRE(pthread_sigmask(SIG_UNBLOCK, &all, nullptr) == 0);
  REQUIRE(g_handled == 505);
  REQUIRE(g_elsewhere == 0);
}

void credentials(int, char **) {
  constexpr uid_t kNobodyElse = 54321;
  if (geteuid() != 0) not_here("not root");
  make_thread();
  REQUIRE(setgroups(0, nullptr) == 0);
  REQUIRE(setresgid(kNobodyElse, kNobodyElse, kNobodyElse) == 0);
  if (setresuid(kNobodyElse, kNobodyElse, kNobodyElse) != 0) not_here("no setresuid");
  use_heap(60 * kMiB);
  pthread_t thread;
  REQUIRE(pthread_create(&thread, nullptr, work_on, nullptr) == 0);
  REQUIRE(pthread_join(thread, nullptr) == 0);
  REQUIRE(tasks() == 2);
}

void single(int, char **) {
  auto *const flag = static_cast<char *>(dlsym(RTLD_DEFAULT, "__libc_single_threaded"));
  if (flag == nullptr) not_here("a libc without __libc_single_threaded");
  REQUIRE(*flag != 0);
  make_thread();
  REQUIRE(*flag != 0);
}

constexpr Scenario kScenarios[] = {
    {"main_leaves", main_leaves}, {"others_stay", others_stay}, {"signals", signals},
    {"credentials", credentials}, {"single", single},
};

}  // namespace

int main(int argc, char **argv) { return play(argc, argv, kScenarios); }
