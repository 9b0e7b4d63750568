// What is printed about fibers: dumps of all stacks, panics, stack overflow. Callers: the C ABI, run.cc,
// sysmon.cc, trace.cc; inspect/ for its words.
// Invariant: blocks begin in column one with "fiber ID [STATE, DURATION] NAME:", frames are indented, innermost first.
#pragma once

#include "allocator/base/log.h"
#include "scheduler/g.h"

namespace warren::scheduler {

// Signal handlers: SIGSEGV for stack overflow, SIGQUIT for dumps, SIGURG to ask running threads for their stacks. Once a process.
void report_set_up();

// In a forked child, which has nobody to answer SIGQUIT until it runs fibers itself.
void report_reset_in_child();

// For SIGQUIT, outside of the handler. Returns where the option sigquit says so.
void report_quit();

// "running", "runnable", or why it waits.
const char *state_name(const G *g);

// ", 12 s": how long ago that was.
void print_duration(LogLine &line, uint64_t since);

}  // namespace warren::scheduler
