// The line about a cycle that the option gctrace prints: Go's, so that tools for Go's read it, and at its end what Go does not
// have: whether it was a minor one, and the mechanism that saw the program's stores.
//
//   gc 4 @120.037s 0%: 0.018+1.1+0.029 ms clock, 0.036+0.4/0.9/0.2+0.058 ms cpu, 20->20->0 MB, 29 MB goal, 0 MB stacks,
//   0 MB globals, 2 P (forced) (userfault)                                                            (all on one line)
//
// Caller: cycle.cc. Invariant: the longest line fits into a LogLine.
#pragma once

#include "allocator/base/log.h"

namespace warren::gc {

// Times in nanoseconds, sizes in bytes.
struct CycleTrace {
  uint64_t number = 0;
  uint64_t since_start = 0;  // of the process, when the cycle began
  unsigned percent = 0;      // of all processor time since then that collection took

  struct {
    uint64_t first_pause = 0;  // sweep termination and mark setup
    uint64_t mark = 0;
    uint64_t last_pause = 0;   // mark termination
  } clock;
  struct {
    uint64_t first_pause = 0;
    uint64_t assist = 0;
    uint64_t background = 0;   // dedicated and fractional workers
    uint64_t idle = 0;
    uint64_t last_pause = 0;
  } cpu;

  uint64_t heap_at_start = 0;
  uint64_t heap_at_end = 0;
  uint64_t heap_live = 0;
  uint64_t goal = 0;
  uint64_t stacks = 0;
  uint64_t globals = 0;
  unsigned procs = 0;
  bool is_forced = false;
  bool is_minor = false;
  const char *tracking = nullptr;  // nullptr: not told
};

// Without the newline, which write_to() appends.
LogLine &operator<<(LogLine &line, const CycleTrace &cycle);

}  // namespace warren::gc
