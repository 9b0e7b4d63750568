// A thread's cache in the collector's heap: for each class, scanned and not, a run of free objects that lie side by
// side, already cleared, and the span it was taken from. An allocation is an addition and a comparison.
//
// The objects of a run count as allocated from the moment it is taken. One taken while marking is on is marked whole; at the
// end of marking the rest of every run is marked by the cycle, so that the sweeper never hands it out twice, and
// the spans leave their owners to be swept. So a thread may be stopped anywhere in allocate(): whether it has moved `next` yet
// or not, the object it is about to return lies in what is marked.
//
// Callers: gc/heap.cc. Invariant: only the owning thread, or the cycle while the program stands still, touches a cache.
#pragma once

#include "allocator/base/tls.h"
#include "gc/span_set.h"

namespace warren::gc {

struct Run {
  uintptr_t next, end;
};

struct Cache {
  Run runs[2][kClassCount];
  Span *spans[2][kClassCount];
  // The 16-byte block that noscan objects below 16 bytes are packed into: its end, and bytes left before it.
  uintptr_t tiny_end;
  uint32_t tiny_left;
  // Of runs that end early, before an object that is to be sampled: where they end else. 0: of others (sampled_objects.h).
  uintptr_t cut[2][kClassCount];
  int64_t countdown;  // bytes to the next sample
  uint64_t random, rate;  // for sampling::draw(); rate 0: nothing was drawn
  int64_t assist_credit;  // bytes this thread may allocate before it must help to mark
  Cache *next;
  Cache *prev;
};

// This thread's; nullptr: it has none yet.
extern WARREN_TLS Cache *current_cache_or_null;

// All that a run of the thread's still has to hand out.
inline Run whole_run(const Cache *cache, unsigned noscan, unsigned number) {
  const Run &run = cache->runs[noscan][number];
  const uintptr_t cut = cache->cut[noscan][number];
  return {run.next, cut != 0 ? cut : run.end};
}

namespace caches {

// This thread's, made at its first use; nullptr: no memory. Inside the stop gate.
Cache *mine();

// A run of the class into the cache; false: no memory. Inside the stop gate. Adds its bytes to *taken.
bool refill(Cache *cache, SizeClass size_class, bool noscan, size_t *taken);

// Takes one object out of a span that this thread allocates from. False: the span is another's, or nobody's. Inside the stop gate,
// and while nobody marks.
bool free_in_mine(Span *span, const Slot &slot);

// While the program stands still, at the end of marking: marks what is left of every run and takes the spans away.
void detach_all();

// While the program stands still: what runs still have to hand out, though its bits say that it is allocated. Takes no lock.
void for_each_run(void (*visit)(const Run &run, void *context), void *context);

void lock_for_fork();
void unlock_after_fork(bool in_child);

// In a forked child, with no lock held: the caches of the threads that are gone. `whole`: none of these was changing its own.
// Else their spans are left to span_sets_for_fork::rebuild_in_child().
void reset_in_child(bool whole);

// Whether this thread allocates from the span.
bool has_mine(const Span *span);

}  // namespace caches
}  // namespace warren::gc
