// sealed_victim: a process that cannot, or must not, make a thread. Run by scavenger_test.py:
//   refused   clone fails (a filter from the start, see the driver): the calls that free give memory back
//   nproc     RLIMIT_NPROC, as another user: likewise
//   deadly    a filter that the program installs later kills it at clone: large frees do not make the thread
//   sealed    the same, with an allow list like that of a sandbox
// Invariant: there is never a second thread; memory goes back while the program goes on freeing.
#include "observe.h"

#include <sys/resource.h>

#include "../faults/syscall_filter.h"

using namespace observe;

namespace {

// Frees that lie apart, since what stays free through a delay is what goes back.
void give_back_while_working(size_t before) {
  Hoard hoard(100000, 200 * kMiB);
  hoard.free_most();
  REQUIRE(tasks() == 1);
  wait_until("resident memory falls while the program goes on freeing", [&] {
    Hoard other(70000, 2 * kMiB);
    other.free_all();
    REQUIRE(tasks() == 1);
    return resident_mib() <= before + kKeptMiB + 32;  // the mark under which nobody is called
  });
  hoard.check_kept();
  use_heap(30 * kMiB);
  hoard.free_kept();
}

void refused(int, char **) {
  if (fork() >= 0) not_here("clone is allowed");
  use_heap(1 * kMiB);
  give_back_while_working(resident_mib());
}

void nproc(int, char **) {
  constexpr uid_t kNobodyElse = 54321;
  if (geteuid() != 0) not_here("not root");
  const rlimit none{1, 1};
  REQUIRE(setrlimit(RLIMIT_NPROC, &none) == 0);
  if (setresuid(kNobodyElse, kNobodyElse, kNobodyElse) != 0) not_here("no setresuid");
  // The process counts as one; a thread would be the second.
  const long probe = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (probe == 0) _exit(0);
  if (probe > 0) not_here("the limit does not hold");
  use_heap(1 * kMiB);
  give_back_while_working(resident_mib());
}

void deadly(int, char **) {
  use_heap(1 * kMiB);
  const size_t before = resident_mib();
  unsigned numbers[4];
  const size_t count = syscall_filter::parse_calls("clone,clone3", numbers);
  if (!syscall_filter::install(numbers, count, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW)) not_here("no filter");
  give_back_while_working(before);
}

void sealed(int, char **) {
  use_heap(1 * kMiB);
  const size_t before = resident_mib();
  if (!syscall_filter::allow_only("mmap,munmap,mremap,madvise,brk,read,write,close,openat,newfstatat,futex,exit,"
                                  "exit_group,getpid,prctl,clock_gettime,clock_nanosleep")) {
    not_here("no filter");
  }
  give_back_while_working(before);
}

constexpr Scenario kScenarios[] = {{"refused", refused}, {"nproc", nproc}, {"deadly", deadly}, {"sealed", sealed}};

}  // namespace

int main(int argc, char **argv) { return play(argc, argv, kScenarios); }
