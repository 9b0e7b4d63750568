// The central of a size class: its spans, and which of their objects are free.
// Callers: thread caches, in batches; threads without a cache, one by one.
//
// Each span belongs to a shard, and so does each thread: it gets objects of its shard's spans, whoever gives them back. So what threads
// have side by side lies on lines of their own, marks as well as data, after any number of frees. (sh6, four threads that free 3,500
// blocks each at a time: of their operations 9 to 18% were on lines of data that another thread wrote last, and 4 to 11% on such lines
// of marks; now 5% and 2.5%. It takes 0.8 to 0.9 of the time.) A shard that has no free object takes spans over from others as long as much
// of the class is free, or memory has been refused.
//
// Invariant: a bit of a span's free_bits() is set when, and only when, that object is in the
// central's hands: neither live nor in any cache. An object in the central's hands has no mark in
// the object map.
#pragma once

#include "allocator/base/intrusive_list.h"
#include "allocator/base/mutex.h"
#include "allocator/span.h"

namespace warren {

// More: more spans in part use. Fewer: more threads that share spans.
inline constexpr unsigned kShards = 4;

class Central {
 public:
  constexpr Central() : lock_(LockRank::kCentral) {}

  // Up to `wanted` objects into the slots that end at `end`, the first one found last, so that a stack of
  // pointers hands them out in the order of their addresses. Fewer, down to none, when there is no memory. `shard`: the thread's.
  size_t fetch(void **end, size_t wanted, unsigned shard = 0) EXCLUDES(lock_);

  // The same for a thread that has had few objects of the class yet: such as share no cache line with an object that somebody else has or
  // may get, if there are any at hand, nor do their marks, if that can be had as well. `last` is an object that the thread has, or any
  // other address. (Two threads that write to neighbours on a line, bench/classics/cache_scratch.cc: 0.30 s, and 0.10. Two with four
  // blocks each, whose marks were on one: 20 to 30 ns a pair, and 10.)
  size_t fetch_apart(void **end, size_t wanted, uintptr_t last, unsigned shard = 0) EXCLUDES(lock_);

  // Takes back what the caches of threads that died in a fork seem to contain. Their memory was copied
  // while those threads ran, page by page, so a pointer may be stale or stand in two caches: whatever
  // is not an object of this class out of the central and without a mark is passed over.
  void adopt(void *const *objects, size_t count) EXCLUDES(lock_);

  // Takes objects back, and passes over sentinels (cache.h). Spans that become free go to the page heap, but for one
  // that is kept while its shard has no other free object, and the class not many.
  void give_back(void *const *objects, size_t count) EXCLUDES(lock_);

  // Frees the spans that give_back() kept.
  void release_kept() EXCLUDES(lock_);

  struct Stats {
    uint64_t spans;
    uint64_t objects_out;  // live or in caches
  };
  Stats stats() EXCLUDES(lock_);

  Mutex &lock() { return lock_; }
  SizeClass size_class() const;

  struct Layout;

 private:
  void prefetch(void *const *objects, size_t count) const;
  Span *new_span(unsigned shard) REQUIRES(lock_);
  void hint_class(const Span *span);
  void count_taken(Span *span, size_t taken) REQUIRES(lock_);
  size_t take_from(Span *span, void **end, size_t wanted) REQUIRES(lock_);
  size_t take_range(Span *span, size_t from, size_t behind, void **end, size_t wanted) REQUIRES(lock_);
  size_t take_stretches_from(Span *span, void **end, size_t wanted) REQUIRES(lock_);
  size_t take_lines_from(Span *span, void **end, size_t wanted) REQUIRES(lock_);
  template <class Take>
  size_t take_from_few(size_t wanted, size_t least, unsigned shard, Take take) REQUIRES(lock_);
  size_t take_beside(uintptr_t last, void **end, size_t wanted, unsigned shard) REQUIRES(lock_);
  void put(void *const *objects, size_t count, IntrusiveList<Span> &emptied) REQUIRES(lock_);
  bool much_is_free() const REQUIRES(lock_);
  Span *take_over(unsigned shard) REQUIRES(lock_);
  Span *span_for(unsigned shard, bool may_be_new) REQUIRES(lock_);
  bool is_kept(const Span *span) const REQUIRES(lock_);
  void empty(Span *span, IntrusiveList<Span> &emptied) REQUIRES(lock_);
  bool is_adoptable(Span *span, uintptr_t object) const REQUIRES(lock_);

  Mutex lock_;
  // Of each shard the spans with a free object, the last that got one first. (By how full they are, and objects from the fullest: the same
  // peaks on every workload of bench/, so one.)
  IntrusiveList<Span> partial_[kShards] GUARDED_BY(lock_);
  uint64_t spans_ GUARDED_BY(lock_) = 0;
  uint64_t objects_out_ GUARDED_BY(lock_) = 0;
};

extern Central centrals[kClassCount];

inline Central &central_of(SizeClass size_class) { return centrals[size_class.value]; }

}  // namespace warren
