// How threads that allocate while marking is on pay for it, so that marking ends before the heap has reached its goal.
//
// Each allocated byte costs what the pacer says in bytes of scanning. A thread first spends what it has paid ahead, then takes
// from what the collector's own thread has scanned (background credit), then scans itself; when there is nothing to scan at
// hand it waits for the one or the other. So a program that allocates faster than it can be marked is slowed down, not
// the heap blown up.
//
// Callers: cycle.cc, marker.cc (hungry), and through preload/ the scheduler's threads that find no fiber. Invariant: nobody owes
// anything once marking is over.
#pragma once

#include "gc/cache.h"

namespace warren::gc::assist {

void begin();

// The collector's thread has scanned so many bytes more.
void note_background(uint64_t scanned);

// By threads other than the collector's, in this cycle: bytes scanned, scanned again, and marked; nanoseconds.
uint64_t scanned();
uint64_t rescanned();
uint64_t marked();
uint64_t time();

// While dirty pages are scanned again: a thread that has taken new memory sleeps for a moment, and need not pay.
void set_brake(bool on);

// For so many bytes taken. Outside of the stop gate.
void pay(size_t bytes);

// A thread that waits for the cycle's end scans meanwhile, or sleeps for a moment.
void help_once();

// A mark worker (mark_workers.h): scans a slice, or sleeps for a moment.
void mark_in_background();

// A thread of the scheduler's that has no fiber to run: whether it should mark, with so many of its processors busy, itself included;
// where the collector's own threads have the rest, it would only take time from them. And scans a slice.
bool is_wanted_of_idle(unsigned busy, unsigned processors);
void mark_when_idle();

// Nanoseconds that such threads have marked in this cycle.
uint64_t idle_time();

// Those who waited are not there.
void reset_in_child();

// Somebody waits for something to scan. relaxed: seen a moment later, it serves as well.
extern std::atomic<uint32_t> waiting;
inline bool hungry() { return waiting.load(std::memory_order_relaxed) != 0; }

}  // namespace warren::gc::assist
