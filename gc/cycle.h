// A collection from its beginning to its end.
//
//   sweep the rest of the last cycle   concurrent
//   watch                              from here on the kernel notes which pages are written to (mutation.h)
//   pause 1                            marking begins: new objects are black; stacks and registers are read
//   mark                               concurrent: data segments, finalizers' referents, then everything reachable
//   mark again what was written to     concurrent, until little is: dirty pages are fetched and watched afresh
//   pause 2                            the last dirty pages, stacks, registers, data segments; then marking is over
//   settle                             concurrent: weak references cleared, finalizers queued
//   sweep                              concurrent, and by whoever needs a span
//
// A minor cycle (generations.h) is the same, but begins with the marks of the last one; after pause 1 the old objects on pages that were
// written to since are scanned, too.
//
// A program may write to pages faster than they can be scanned. So threads that allocate are held back meanwhile, and from the third
// pass on the program is stopped in turns, each for less than a millisecond, as long as that makes the dirty pages fewer.
// Where stores cannot be seen, the world stays stopped from pause 1 to pause 2.
//
// Callers: heap.cc (allocation pays and asks), collector_thread.cc (runs it), the C ABI.
// Invariant: one cycle at a time.
#pragma once

#include "allocator/base/mutex.h"

#include <cstddef>
#include <cstdint>

namespace warren::gc::cycle {

bool is_set_up();
bool set_up();  // false: no memory, or no signal is free

// A thread has taken so many bytes: helps to mark if marking is on, asks for a cycle if it is time. Not inside the stop gate.
void pay_for(size_t bytes);

// A full cycle that begins after this call, its sweep included.
void collect();

// Carries one out. By one thread at a time.
void run(bool forced);

// Sweeps what the last cycle left.
void sweep_everything();

// Called at the end of each cycle, while the program runs. Set once, before the first.
void at_end(void (*callback)());

// Held by the collector's thread wherever it changes spans or stops the world: whoever has it finds the heap whole.
// Waiting for it is no reason not to be stopped (allocator/base/mutex.cc).
extern Mutex background_lock;

// Held while the collector is set up. For fork, which like all may wait for it and be stopped.
extern Mutex set_up_lock;

struct Stats {
  uint64_t cycles;
  uint64_t goal_bytes;        // heap size at which the next cycle is to end
  uint64_t last_end_unix_ns;
  uint64_t pause_total_ns;
  uint64_t pause_longest_ns;
};
Stats stats();

}  // namespace warren::gc::cycle
