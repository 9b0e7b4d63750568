// The pacer at work: feeds it with what the heap and the cycle count, and publishes what it says to allocating threads.
// Callers: cycle.cc (begin, progress, end), heap.cc by way of cycle::pay_for, assist.cc (pace).
// Invariant: the pacer itself is touched under one lock; what is published is a target, and may be a moment old.
#pragma once

#include "gc/pacer.h"

namespace warren::gc::pacing {

void set_up();

// Whether the heap has reached the size at which a cycle is to begin.
bool is_time(uint64_t live_bytes);

// wr_conf_set: gogc or memlimit may be another now. A cycle looks at them too, but without a goal none may come.
void follow_options();

// Both are the options gogc and memlimit under another name. Return the value before.
int set_percent(int percent);
int64_t set_memory_limit(int64_t limit);  // negative: only asks

// Returns how many threads are to mark; 0: one, all the same (cycle.cc says why not for a part of the time, as the pacer would have it).
// `old_scannable`: bytes that a minor cycle need not look at; 0 in a full one.
unsigned begin(unsigned procs, uint64_t globals, bool minor, uint64_t old_scannable);
// While marking: what was scanned so far.
void revise(const ScanBytes &done);
Pace pace();
uint64_t goal();

struct End {
  uint64_t heap, heap_scannable;  // live bytes when marking ended, dead ones among them, and those that may hold pointers
  uint64_t marked, scannable;     // of these
  uint64_t black;                 // of the marked: taken since marking began
  ScanBytes done;
  uint64_t assist_time, background_time;
  bool minor, next_is_minor;
};
void end(const End &end);

void lock_for_fork();
void unlock_after_fork(bool in_child);

}  // namespace warren::gc::pacing
