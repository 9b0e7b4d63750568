// A collection from its beginning to its end, and the threads that carry it out.
//
//   sweep the rest of the last cycle   concurrent
//   watch                              from here on the kernel notes which pages are written to (mutation.h)
//   pause 1                            marking begins: new objects are black; stacks and registers are read
//   mark                               concurrent: data segments, finalizers' referents, then everything reachable
//   mark again what was written to     concurrent, up to three times: dirty pages are fetched and watched afresh
//   pause 2                            the last dirty pages, stacks, registers, data segments; then marking is over
//   settle                             concurrent: weak references cleared, finalizers queued
//   sweep                              concurrent, and by whoever needs a span
//
// Callers: heap.cc (allocation pays and asks), the C ABI.
// Invariant: one cycle at a time; the thread that carries it out is not the program's, or is inside collect().
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::gc::cycle {

bool is_set_up();
bool set_up();  // false: no memory

// A thread has taken so many bytes: helps to mark if marking is on, asks for a cycle if it is time.
void pay_for(size_t bytes);

// A full cycle that begins after this call, its sweep included.
void collect();

// GOGC: percent of growth, negative: off. Returns the value before.
int set_percent(int percent);
int64_t set_memory_limit(int64_t limit);  // negative: only asks

struct Stats {
  uint64_t cycles;
  uint64_t forced_cycles;
  uint64_t next_bytes;       // heap size that starts the next cycle
  uint64_t last_end_unix_ns;
  uint64_t pause_total_ns;
  uint64_t pause_longest_ns;
};
Stats stats();

void lock_for_fork();
void unlock_after_fork(bool in_child);

}  // namespace warren::gc::cycle
