// Runs one program and writes what it used to a file: bench/run.py's stopwatch.
// Linked statically, so LD_PRELOAD in the environment reaches the program and not this one. Invariant: it stays small,
// because the kernel counts the launching process's own memory into the peak RSS of what it starts (a Python runner
// would put a floor of some 10 MiB under every result).
// Usage: launch RESULT_FILE PROGRAM ARGUMENTS... Exit status 0 if the program could be started and waited for.
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace {

double seconds(const timeval &time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

double now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const double start = now();
  const pid_t child = fork();
  if (child == 0) {
    execvp(argv[2], argv + 2);
    _exit(127);
  }
  int status = 0;
  rusage used{};
  if (child < 0 || wait4(child, &status, 0, &used) != child) return 1;
  const double wall = now() - start;
  FILE *result = fopen(argv[1], "w");
  if (result == nullptr) return 1;
  // The program and every child it waited for: times and faults are sums, the peak RSS is that of the largest.
  fprintf(result, "%d %.9f %.6f %.6f %ld %ld %ld\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), wall,
          seconds(used.ru_utime), seconds(used.ru_stime), used.ru_maxrss, used.ru_minflt, used.ru_majflt);
  return fclose(result) == 0 ? 0 : 1;
}
