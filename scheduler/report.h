// What is printed about fibers: dumps of all stacks, panics, stack overflow. Callers: the C ABI, run.cc,
// sysmon.cc, trace.cc.
// Invariant: blocks begin in column one with "fiber ID [STATE, DURATION] NAME:", frames are indented, innermost first.
#pragma once

#include "scheduler/g.h"

namespace warren::scheduler {

// Signal handlers: SIGSEGV for stack overflow, SIGQUIT for dumps, SIGURG to ask running threads for their stacks. Once.
void report_set_up();

// For SIGQUIT, outside of the handler.
[[noreturn]] void report_quit();

// "running", "runnable", or why it waits.
const char *state_name(const G *g);

}  // namespace warren::scheduler
