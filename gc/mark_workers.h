// More threads that mark, where a quarter of the processors is more than one: the first is the one that runs the cycle.
// They sleep between cycles. While one marks it is not stopped, and does not keep others from being stopped: it touches mark bits,
// buffers of grey objects, and the words it reads.
//
// Callers: cycle.cc; assist.cc (count). Invariant: between rest() and the next wake() none of them marks.
#pragma once

#include <cstdint>

namespace warren::gc::mark_workers {

// While the phase is kMark: has `count` of them mark, which are made first if there are not so many. Fewer, where no thread is to be had.
void wake(unsigned count);

// Returns when they have stopped marking.
void rest();

// How many there are in this cycle. Any thread.
unsigned count();

// Processor time that they have had in this cycle, in nanoseconds, after rest().
uint64_t time();

void reset_in_child();

}  // namespace warren::gc::mark_workers
