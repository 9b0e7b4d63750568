// Stacks as lists of return addresses. Callers: report.cc, watched_call.cc. The unwinder is the C++ runtime's (libgcc_s), looked up late;
// without it there are no frames. Invariant: nothing here runs fibers; a parked stack is left as it was.
#pragma once

#include "scheduler/g.h"

#include <cstdint>

namespace warren::scheduler {

struct Frames {
  static constexpr int kMost = 64;
  uintptr_t address[kMost];  // of the call, not of where it returns to
  int count = 0;
  bool more = false;
};

// Finds the unwinder. Before it is needed in a signal handler.
void find_unwinder();

// Of the caller.
void frames_here(Frames &frames);

// Of a fiber that does not run, and will not while this looks.
void frames_of_saved(const G *g, Frames &frames);

}  // namespace warren::scheduler
