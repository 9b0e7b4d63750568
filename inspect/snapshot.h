// A copy of the process, frozen at one moment, in which an inspection may take its time while the program runs on.
//
//   program             tracer (shares the memory)             copy (has its own)
//   starts the tracer
//                       stops every thread, notes registers
//                       copies the process            ---->    inspects, writes its report
//   runs on      <----  lets every thread go
//                       waits for the copy            <----    ends
//   waits for the tracer, if it wants the outcome
//
// Threads are stopped as a debugger does it, so that no handler runs and what they wait for in the kernel is waited for
// again: also where the kernel alone would say EINTR (epoll_wait and the like). Where tracing is not allowed, or
// somebody else traces the program, the collector's signal stops them instead (gc/world.h).
//
// The copy has one thread, the memory of all, and no lock of the heap's is held in it: a thread that is inside the stop
// gate is let run until it has come out. Locks of libc's and the loader's may be held for ever. Callers: leaks.cc, reclaim.cc,
// stuck_fibers.cc. Invariant: between two calls nothing is left in the program but a stack and a table.
#pragma once

#include "gc/world.h"

#include <cstddef>
#include <cstdint>

namespace warren::inspect::snapshot {

// Once, before take().
bool set_up();

// What comes back from the copy.
struct Outcome {
  bool taken;          // false: no thread could be stopped, or no memory for a copy
  bool finished;       // the inspection has come to its end
  uint64_t values[4];  // as the inspection set them
};

// Why there is nothing in the values: for the program's user. nullptr: there is.
const char *failure(const Outcome &outcome);

// Of a process that ends after a search has found something.
inline constexpr int kFoundStatus = 23;

// Runs inspect(values) in a copy and waits for it. Any thread, one after the other; not from a signal handler.
using Inspect = void (*)(uint64_t (&values)[4]);
Outcome take(Inspect inspect);

// The same without waiting, from anywhere. False: another one is under way, or this one cannot begin.
bool take_and_forget(Inspect inspect);

// Whether the calling thread is inside of take(): its signal handler asks.
bool is_taken_by_me();

// In a forked child: what its parent had under way did not come along.
void reset_in_child();

// In the copy: what threads keep alive (gc/world.h, for_each_root_range, but for fibers that do not run), and for how
// long they stood still until the copy was made.
void for_each_thread_range(gc::VisitRange visit, void *context);
uint64_t stopped_so_far();

// In the copy: whether some thread's stack pointer lies there. False as well where that is not known.
bool any_thread_on(uintptr_t low, uintptr_t high);

// In the copy: each thread's control block, by which libc knows it.
void for_each_thread(void (*visit)(uintptr_t thread_pointer, void *context), void *context);

// The snapshot's own stack and table.
void for_each_own_range(gc::VisitRange visit, void *context);

}  // namespace warren::inspect::snapshot
