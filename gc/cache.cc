// See cache.h.
#include "gc/cache.h"

#include "allocator/base/stop_gate.h"
#include "allocator/metadata.h"
#include "gc/phase.h"
#include "gc/poison.h"

#include <cstring>
#include <pthread.h>

namespace warren::gc {

WARREN_TLS Cache *current_cache_or_null = nullptr;

namespace caches {
namespace {

// Most bytes of a run. More: cleared lines leave the first-level cache before they are used, and a thread that ends leaves
// more behind. Less: more slow calls.
constexpr size_t kMaxRun = 4096;

constinit Mutex lock(LockRank::kCollectCaches);
IntrusiveList<Cache> all GUARDED_BY(lock);
metadata::FixedAllocator<Cache> allocator;

pthread_key_t exit_key;
bool have_exit_key = false;

void give_spans_back(Cache *cache) {
  for (auto &spans : cache->spans) {
    for (Span *&span : spans) {
      if (span != nullptr) set_of(span).put(span);
      span = nullptr;
    }
  }
}

void on_thread_exit(void *) {
  const stop_gate::Inside gate;
  Cache *cache = current_cache_or_null;
  if (cache == nullptr) return;
  current_cache_or_null = nullptr;  // what is left of the runs is garbage that the next cycle finds
  give_spans_back(cache);
  {
    MutexLock guard(lock);
    all.remove(cache);
  }
  allocator.free(cache);
}

// Bits of an array of pairs, object by object: whole words where a run covers them.
struct BitRange {
  size_t word;
  uint64_t bits;
};

template <class Visit>
void for_each_word(size_t first, size_t count, Visit visit) {
  while (count != 0) {
    const size_t in_word = first % 64;
    const size_t here = count < 64 - in_word ? count : 64 - in_word;
    const uint64_t bits = (here == 64 ? ~uint64_t{0} : (uint64_t{1} << here) - 1) << in_word;
    visit(BitRange{first / 64, bits});
    first += here;
    count -= here;
  }
}

void mark_objects(BitPair *pairs, size_t first, size_t count) {
  for_each_word(first, count, [pairs](BitRange range) {
    __atomic_fetch_or(&pairs[range.word].marked, range.bits, __ATOMIC_RELAXED);  // relaxed: markers only add bits
  });
}

// The next run of free objects of a span that is ours.
bool next_run(Span *span, Run &run, size_t *taken) {
  if (span->free_objects == 0) return false;
  const SizeClassInfo &shape = info(span->size_class);
  BitPair *pairs = pairs_of(span);
  const size_t objects = shape.objects;
  const size_t most = shape.object_size >= kMaxRun ? 1 : kMaxRun / shape.object_size;
  size_t first = span->search_from;
  for (; first < objects; first = (first | 63) + 1) {  // the first free object
    const uint64_t free = ~pairs[first / 64].allocated >> (first % 64);
    if (free == 0) continue;
    first += static_cast<size_t>(__builtin_ctzll(free));
    break;
  }
  if (first >= objects) {
    span->free_objects = 0;  // the rest is the tail's bits
    return false;
  }
  size_t count = 0;
  while (count < most && first + count < objects) {
    const size_t at = first + count;
    const uint64_t taken_bits = pairs[at / 64].allocated >> (at % 64);
    const size_t left_in_word = 64 - at % 64;
    const size_t free_here = taken_bits == 0 ? left_in_word : static_cast<size_t>(__builtin_ctzll(taken_bits));
    count += free_here;
    if (free_here < left_in_word) break;
  }
  if (count > most) count = most;
  if (first + count > objects) count = objects - first;
  const bool marking = phase::is_marking();
  for_each_word(first, count, [pairs](BitRange range) {
    BitPair &pair = pairs[range.word];
    __atomic_store_n(&pair.allocated, pair.allocated | range.bits, __ATOMIC_RELAXED);  // ours to write
  });
  if (marking) mark_objects(pairs, first, count);
  span->free_objects = static_cast<uint16_t>(span->free_objects - count);
  span->search_from = static_cast<uint16_t>(first + count);
  run.next = span->start() + first * shape.object_size;
  run.end = run.next + count * shape.object_size;
  if (WARREN_UNLIKELY(poison::is_on())) poison::check(run.next, shape.object_size, count);
  if (!span->zero) memset(at_address<void>(run.next), 0, run.end - run.next);
  *taken += run.end - run.next;
  if (marking) phase::note_allocated_black(run.end - run.next, span->noscan);
  return true;
}

Span *another_span(SizeClass size_class, bool noscan) {
  if (Span *span = span_sets[noscan][size_class.value].take()) {
    span->zero = false;
    return span;
  }
  return new_span(PageCount{info(size_class).span_pages}, size_class, noscan);
}

}  // namespace

Cache *mine() {
  if (current_cache_or_null != nullptr) return current_cache_or_null;
  Cache *cache = allocator.allocate();
  if (cache == nullptr) return nullptr;
  memset(static_cast<void *>(cache), 0, sizeof *cache);
  {
    MutexLock guard(lock);
    if (!have_exit_key) have_exit_key = pthread_key_create(&exit_key, on_thread_exit) == 0;
    all.push_front(cache);
  }
  current_cache_or_null = cache;
  if (have_exit_key) pthread_setspecific(exit_key, cache);
  return cache;
}

bool refill(Cache *cache, SizeClass size_class, bool noscan, size_t *taken) {
  Span *&span = cache->spans[noscan][size_class.value];
  Run &run = cache->runs[noscan][size_class.value];
  for (;;) {
    if (span != nullptr) {
      if (next_run(span, run, taken)) return true;
      set_of(span).put(span);
    }
    span = another_span(size_class, noscan);
    if (span == nullptr) return false;
  }
}

bool has_mine(const Span *span) {
  const Cache *cache = current_cache_or_null;
  return cache != nullptr && cache->spans[span->noscan][span->size_class.value] == span;
}

bool free_in_mine(Span *span, const Slot &slot) {
  if (!has_mine(span) || !slot.is_allocated()) return false;
  __atomic_store_n(&slot.pair->allocated, slot.pair->allocated & ~slot.bit, __ATOMIC_RELAXED);  // ours to write
  slot.unmark();
  const auto index = static_cast<uint16_t>(span->index_of(slot.object));
  span->free_objects++;
  if (index < span->search_from) span->search_from = index;
  span->zero = false;
  return true;
}

void detach_all() {
  MutexLock guard(lock);
  for (Cache *cache = all.front(); cache != nullptr; cache = cache->next) {
    for (unsigned noscan = 0; noscan < 2; ++noscan) {
      for (unsigned number = 1; number < kClassCount; ++number) {
        const Run run = whole_run(cache, noscan, number);
        if (run.next < run.end) {
          Slot slot;
          find_slot(run.next, slot);
          const Span *span = page_map::at(arena.page_of(run.next));
          const auto first = static_cast<size_t>(span->index_of(run.next));
          mark_objects(pairs_of(span), first, (run.end - run.next) / info(span->size_class).object_size);
        }
        Span *&span = cache->spans[noscan][number];
        if (span != nullptr) set_of(span).put_unswept(span);
        span = nullptr;
      }
    }
    if (cache->tiny_left != 0) {  // the rest of the block is still to be handed out
      Slot slot;
      if (find_slot(cache->tiny_end - 1, slot)) slot.mark();
    }
  }
}

// The lock is free, since nobody is stopped who has it.
void for_each_run(void (*visit)(const Run &run, void *context), void *context) NO_THREAD_SAFETY_ANALYSIS {
  for (const Cache *cache = all.front(); cache != nullptr; cache = cache->next) {
    for (unsigned noscan = 0; noscan < 2; ++noscan) {
      for (unsigned number = 1; number < kClassCount; ++number) {
        const Run run = whole_run(cache, noscan, number);
        if (run.next < run.end) visit(run, context);
      }
    }
  }
}

void lock_for_fork() NO_THREAD_SAFETY_ANALYSIS { lock.lock_for_fork(); }

void unlock_after_fork(bool in_child) NO_THREAD_SAFETY_ANALYSIS { lock.unlock_after_fork(in_child); }

void reset_in_child(bool whole) {
  MutexLock guard(lock);
  Cache *cache = all.front();
  while (cache != nullptr) {
    Cache *const after = cache->next;
    if (cache != current_cache_or_null) {
      if (whole) give_spans_back(cache);
      all.remove(cache);
      allocator.free(cache);
    }
    cache = after;
  }
}

}  // namespace caches
}  // namespace warren::gc
