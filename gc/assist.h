// How threads that allocate while marking is on pay for it, so that marking ends before the heap has reached its goal.
//
// Each allocated byte costs `ratio` bytes of scanning. A thread first spends what it has paid ahead, then takes from what the
// collector's own thread has scanned (background credit), then scans itself; when there is nothing to scan at hand it
// waits for the one or the other. So a program that allocates faster than it can be marked is slowed down, not the heap
// blown up.
//
// Callers: cycle.cc (allocation, begin, end, what was scanned). Invariant: ratio is only used while marking is on.
#pragma once

#include "gc/cache.h"

namespace warren::gc::assist {

// Marking begins: `expected_scan` bytes are likely to be scanned while the heap grows from `live` to `goal`.
void begin(uint64_t live, uint64_t goal, uint64_t expected_scan);

// The collector's thread has scanned so many bytes more.
void note_background(uint64_t scanned);

// Marking is over: who waits goes on.
void end();

// Outside of the stop gate.
void pay(size_t bytes);

// Somebody waits for something to scan. relaxed: seen a moment later, it serves as well.
extern std::atomic<uint32_t> waiting;
inline bool hungry() { return waiting.load(std::memory_order_relaxed) != 0; }

// What allocating threads have scanned in this cycle.
uint64_t take_scanned();

}  // namespace warren::gc::assist
