// The search for fibers that nothing can ever wake: at the end of a run and at exit where the option `stuck` says so,
// and when the program asks. Callers: preload/start.cc, preload/leaks.cc.
//
// A parked fiber is stuck when nothing that is alive leads to what it waits for. Alive are at first the data of the
// program and its libraries, threads, fibers that run or will by themselves (those that sleep or wait for a
// descriptor), and the collector's objects. What lives is followed through memory; where that leads to the object that
// a parked fiber waits for, the fiber is alive, and its stack is followed as well; and so on until nothing changes.
// Source: the goroutine leak profile of Go 1.26.
//
// Invariant: a fiber that can still be woken is never reported, unless by a pointer that no search could know for one.
// The reverse is not promised: a word that looks like an address keeps a fiber from being reported.
#pragma once

#include <cstdint>

namespace warren::inspect::stuck_fibers {

// When the library is loaded.
void set_up();

// Looks and reports. How many fibers are stuck, 0 where no run is under way, -1: that could not be found out. Any fiber
// or thread; not from a signal handler.
int64_t check();

// At exit: whether the process is to end with snapshot::kFoundStatus. (Standard streams are not flushed yet.)
bool failed_at_exit();

}  // namespace warren::inspect::stuck_fibers
