// The collector's objects that the heap profile samples: chosen by bytes, as blocks from malloc are (allocator/sampling.h), and forgotten
// when they are swept or released.
//
// The fast path knows nothing of it. What is counted is runs, as they are taken: when the next sample lies in one, the run ends
// before the object that has it, so that this object is allocated by the slow path, which knows the stack then. Objects count with their
// whole blocks, since the bytes of those are what is counted; what lies in a shared block counts with the first that came to it.
//
// Callers: heap.cc, the sweeper. Invariant: a span's `sampled` is how many of its objects the profile has.
#pragma once

#include "allocator/base/annotations.h"
#include "gc/cache.h"

namespace warren::gc::sampled_objects {

// Counts what is left of a run, which was just taken or has just given a sample: ends it before the next one. Inside the stop gate,
// as all that changes a run.
void count(Cache *cache, unsigned noscan, unsigned number);

// True: the run has come to an object that is to be sampled, and is whole again, from that object on.
inline bool comes_to_sample(Cache *cache, unsigned noscan, unsigned number) {
  Run &run = cache->runs[noscan][number];
  uintptr_t &cut = cache->cut[noscan][number];
  if (WARREN_LIKELY(cut == 0 || run.next != run.end)) return false;
  run.end = cut;
  cut = 0;
  return true;
}

// Counts a large object. True: it is to be sampled.
bool is_due(Cache *cache, size_t bytes);

// The thread has just allocated an object that is to be sampled: it may have a stack that only its caller knows.
void add(const Cache *cache, uintptr_t object, size_t bytes);

// After a sample, outside of the gate: a file may be due.
void after();

// relaxed: the objects that one thread sweeps were sampled before the world stood still for the last time.
inline bool any_in(const Span *span) { return __atomic_load_n(&span->sampled, __ATOMIC_RELAXED) != 0; }

// Before the sweeper takes the bits of dead objects away: nobody can have their places yet.
void forget_dead(Span *span);

// An object that is released by hand, likewise.
void forget(Span *span, uintptr_t object);

}  // namespace warren::gc::sampled_objects
