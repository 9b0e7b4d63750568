// What the scheduler's benches have in common: the clock, the arguments, the line they print. Callers: bench/sched/*.cc
// and boost/*.cc; go/measure.go is the same in Go. Invariant: one form of line, which bench/sched.py reads. CPU time as
// well as wall time: on a shared machine only the first can be compared.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <ctime>

inline double seconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

struct Stopwatch {
  double wall = seconds(CLOCK_MONOTONIC);
  double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
  void report(const char *what, double operations) const {
    std::printf("%-28s %8.1f ns wall %8.1f ns cpu\n", what, (seconds(CLOCK_MONOTONIC) - wall) / operations * 1e9,
                (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) / operations * 1e9);
  }
};

inline double resident_bytes() {
  double pages = 0;
  if (FILE *file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*s %lf", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return pages * 4096;
}

// PROGRAM [COUNT [PROCS]]
inline long count_from(int argc, char **argv, long otherwise) { return argc > 1 ? std::atol(argv[1]) : otherwise; }
inline int procs_from(int argc, char **argv) { return argc > 2 ? std::atoi(argv[2]) : 1; }
