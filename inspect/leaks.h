// Looking for leaks, as option gc=leaks switches it on: at exit, on SIGUSR2, and when the program asks. Callers:
// preload/start.cc, preload/leaks.cc. Invariant: the program's memory, its descriptors and what it waits for are as
// before; with the option off nothing here runs.
#pragma once

#include <cstdint>

namespace warren::inspect::leaks {

// When the library is loaded and the option says so. At ends it is looked in one process, and with leak_forks in its forked children;
// these keep their own status.
void set_up();

// Looks and reports. How many blocks are lost, -1: that could not be found out. Any thread; not from a signal handler.
int64_t check();

// Whether ends are awaited at all.
bool is_on();

// At exit: whether the process is to end with snapshot::kFoundStatus. (Standard streams are not flushed yet.)
bool leaked_at_exit();

// The same at an end that may come anywhere: in a signal handler, in the child of a vfork, after leaked_at_exit().
bool leaked_at_sudden_end();

}  // namespace warren::inspect::leaks
