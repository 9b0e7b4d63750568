// Looking for leaks, as option gc=leaks switches it on: at exit, on SIGUSR2, and when the program asks. Callers:
// preload/start.cc, preload/leaks.cc. Invariant: the program's memory, its descriptors and what it waits for are as
// before; with the option off nothing here runs.
#pragma once

#include <cstdint>

namespace warren::inspect::leaks {

// When the library is loaded and the option says so.
void set_up();

// Looks and reports. How many blocks are lost, -1: that could not be found out. Any thread; not from a signal handler.
int64_t check();

// At exit: whether the process is to end with snapshot::kFoundStatus. (Standard streams are not flushed yet.)
bool leaked_at_exit();

}  // namespace warren::inspect::leaks
