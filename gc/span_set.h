// The spans of one size class in the collector's heap, scanned and unscanned ones apart; one more pair for large objects.
//
//   owned           a thread allocates from it (gc/cache.h); in no list
//   partial, full   swept: with and without a free object
//   unswept         the marks of the last cycle tell what lives in it; swept when a thread needs a span, or in the background
//
// A span is swept by whoever took it out of its list, so nobody else has it then.
// Callers: the caches (refill), the sweeper, the cycle (flip), explicit frees.
// Invariant: outside of marking, a marked bit in a span means that it is unswept, or that marks are kept and the object is old.
#pragma once

#include "allocator/base/intrusive_list.h"
#include "allocator/base/mutex.h"
#include "gc/page_tags.h"

namespace warren::gc {

// Which cycle's marks are the allocated bits of a swept span. Changed while the program stands still.
extern std::atomic<uint32_t> generation;

// Whether spans that are swept keep their marks, for a minor cycle. Changed while nothing is swept.
extern std::atomic<bool> marks_kept;

inline bool is_swept(const Span *span) {
  return __atomic_load_n(&span->generation, __ATOMIC_ACQUIRE) == generation.load(std::memory_order_acquire);
}

class SpanSet {
 public:
  enum List : uint8_t { kOwned, kPartial, kFull };

  constexpr SpanSet() : lock_(LockRank::kSpanSet) {}

  // A swept span with free objects, now the caller's; nullptr: there is none.
  Span *take() EXCLUDES(lock_);

  // A span the caller owned, swept.
  void put(Span *span) EXCLUDES(lock_);

  // A span the caller owned, in a time when all of them are unswept.
  void put_unswept(Span *span) EXCLUDES(lock_);

  // Sweeps one span and puts it where it belongs. False: none is left.
  bool sweep_one() EXCLUDES(lock_);

  // All swept spans become unswept ones; there are no others then. The program stands still.
  void flip() EXCLUDES(lock_);

  // Takes one object out of a span that nobody owns. False: somebody does, or the object is not there.
  bool free_object(Span *span, const Slot &slot) EXCLUDES(lock_);

  // Takes a large object's span, which is then the caller's to free. False: somebody else has it, or its object is dead.
  bool take_large(Span *span) EXCLUDES(lock_);

  // In a forked child, where nobody relies on the lists.
  void forget_all() EXCLUDES(lock_);

  Mutex &lock() { return lock_; }

 private:
  Span *pop_unswept() EXCLUDES(lock_);
  void insert(Span *span) REQUIRES(lock_);
  IntrusiveList<Span> &list_of(const Span *span) REQUIRES(lock_);

  Mutex lock_;
  IntrusiveList<Span> partial_ GUARDED_BY(lock_);
  IntrusiveList<Span> full_ GUARDED_BY(lock_);
  IntrusiveList<Span> unswept_partial_ GUARDED_BY(lock_);  // partial before the cycle: more likely to have room now
  IntrusiveList<Span> unswept_full_ GUARDED_BY(lock_);
};

// By noscan and class; class 0 holds the large objects.
extern SpanSet span_sets[2][kClassCount];

// The locks of all sets, and of what new spans need.
namespace span_sets_for_fork {
void lock();
void unlock(bool in_child);

// In a child that was forked while threads were in the middle of something, and that has no lock: lists hold spans twice or not
// at all, and some are half swept. Every span that is not `owned` by this thread is put where it belongs by what it says itself.
void rebuild_in_child(bool (*owned)(const Span *span));
}  // namespace span_sets_for_fork

inline SpanSet &set_of(const Span *span) { return span_sets[span->noscan][span->size_class.value]; }

// Turns the marks of an unswept span into its allocated bits.
void sweep(Span *span);

// How many objects of the span are marked.
size_t marked_objects(const Span *span);

// What is old when a minor cycle begins.
struct OldBytes {
  uint64_t all = 0, scannable = 0;
  uint64_t remembered = 0;  // of the scannable: on pages that must be scanned (page_states.h)
};
OldBytes count_old();

// Makes all that is old young again, for a full cycle. False: a thread is sweeping a span just now, that is left alone; to be called
// again with the program stopped. Both while the program runs: no list has an unswept span, and nobody but the caller, who holds the
// cycle's background_lock, gives one back.
bool forget_old();

inline bool has_no_object(const Span *span) {
  return span->free_objects == (span->size_class.is_large() ? 1 : info(span->size_class).objects);
}

// Gives a span that the caller owns, and that has no object, back to the page heap.
void free_span(Span *span);

// A new span, swept, with no objects, the caller's; nullptr: no memory.
Span *new_span(PageCount pages, SizeClass size_class, bool noscan);

}  // namespace warren::gc
