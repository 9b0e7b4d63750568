// See central.h.
#include "allocator/central.h"

#include "allocator/base/annotations.h"
#include "allocator/base/bitmap.h"
#include "allocator/base/check.h"
#include "allocator/base/layout.h"
#include "allocator/object_map.h"
#include "allocator/page_heap.h"
#include "allocator/page_map.h"

#include <algorithm>

namespace warren {

constinit Central centrals[kClassCount];

struct Central::Layout {
  static constexpr size_t kObjectsOut = offsetof(Central, objects_out_);
};
WARREN_SHOW_ADDRESS("centrals", &centrals);
WARREN_SHOW_NUMBER("Central.bytes", sizeof(Central));
WARREN_SHOW_NUMBER("Central.objects_out", Central::Layout::kObjectsOut);

SizeClass Central::size_class() const { return SizeClass{static_cast<uint8_t>(this - centrals)}; }

// What free() is to expect of these pages' objects; nothing where their marks are not what it looks at first.
void Central::hint_class(const Span *span) {
  const uint8_t hint = size_class().value <= kLastSmallClass ? size_class().value : 0;
  for (uint32_t page = span->first.value; page < span->end().value; ++page) {
    // relaxed: a hint, which who frees compares with the mark. Stored only where it changes: all threads read the line, which has
    // the hints of 64 pages (stored always: 1.4 times the time where two threads free and make spans all the time).
    uint8_t *at = &arena.class_hints[page];
    if (__atomic_load_n(at, __ATOMIC_RELAXED) != hint) __atomic_store_n(at, hint, __ATOMIC_RELAXED);
  }
}

Span *Central::new_span(unsigned shard) {
  const SizeClassInfo &shape = info(size_class());
  Span *span = page_heap::allocate(PageCount{shape.span_pages}, SpanState::kObjects, size_class());
  if (span == nullptr) return nullptr;
  hint_class(span);
  span->zero = false;
  span->free_objects = shape.objects;
  span->search_from = 0;
  bits::set_first(span->free_bits(), shape.objects);
  span->shard = static_cast<uint8_t>(shard);
  partial_[shard].push_front(span);
  ++spans_;
  return span;
}

namespace {

// So many objects, the first at the start of a line, end with one.
size_t lines_group(size_t object_size) {
  const unsigned even = static_cast<unsigned>(__builtin_ctzll(object_size));
  return even < kCacheLineLog ? size_t{1} << (kCacheLineLog - even) : 1;
}

}  // namespace

void Central::count_taken(Span *span, size_t taken) {
  span->free_objects = static_cast<uint16_t>(span->free_objects - taken);
  if (span->free_objects == 0) partial_[span->shard].remove(span);
}

size_t Central::take_from(Span *span, void **end, size_t wanted) {
  uint64_t *free_bits = span->free_bits();
  const uintptr_t start = span->start();
  const size_t object_size = info(span->size_class).object_size;
  size_t taken = 0;
  size_t word = span->search_from / 64;
  if (wanted > span->free_objects) wanted = span->free_objects;
  while (taken < wanted) {
    uint64_t rest = free_bits[word];
    if (rest == ~uint64_t{0} && wanted - taken >= 64) {  // what was freed in order, or never used: without a look at each bit
      uintptr_t object = start + word * 64 * object_size;
      for (unsigned i = 1; i <= 64; ++i, object += object_size) end[-static_cast<ptrdiff_t>(i)] = at_address<void>(object);
      end -= 64;
      taken += 64;
      free_bits[word] = 0;
      if (taken < wanted) ++word;
      continue;
    }
    while (rest != 0 && taken < wanted) {
      const size_t index = word * 64 + static_cast<size_t>(__builtin_ctzll(rest));
      *--end = at_address<void>(start + index * object_size);
      ++taken;
      rest &= rest - 1;
    }
    free_bits[word] = rest;
    if (rest == 0 && taken < wanted) ++word;
  }
  span->search_from = static_cast<uint16_t>(word * 64);
  count_taken(span, taken);
  return taken;
}

// What the central has from the object of one index on to that of another.
size_t Central::take_range(Span *span, size_t from, size_t behind, void **end, size_t wanted) {
  const size_t size = info(size_class()).object_size;
  const uintptr_t start = span->start();
  uint64_t *free_bits = span->free_bits();
  size_t taken = 0;
  for (size_t word = from / 64; word * 64 < behind && taken < wanted; ++word) {
    uint64_t range = word == from / 64 ? ~uint64_t{0} << (from % 64) : ~uint64_t{0};
    if (behind - word * 64 < 64) range &= (uint64_t{1} << (behind % 64)) - 1;
    uint64_t rest = free_bits[word] & range;
    for (; rest != 0 && taken < wanted; rest &= rest - 1, ++taken) {
      *--end = at_address<void>(start + (word * 64 + static_cast<size_t>(__builtin_ctzll(rest))) * size);
    }
    free_bits[word] = (free_bits[word] & ~range) | rest;
  }
  return taken;
}

namespace {

// A stretch of a span, of which the marks fill a cache line. From first to behind: the objects that lie inside it; from first to beyond: the
// one as well that begins in it and ends behind it.
struct Stretch {
  size_t first, behind, beyond;
};

Stretch stretch_at(const SizeClassInfo &shape, size_t offset) {
  const size_t at = align_down(offset, object_map::kBytesForLine), size = shape.object_size;
  const auto index_at = [&](size_t of) { return std::min<size_t>(of * shape.reciprocal >> 32, shape.objects); };
  return {index_at(at + size - 1), index_at(at + object_map::kBytesForLine), index_at(at + object_map::kBytesForLine + size - 1)};
}

}  // namespace

// From stretches whose marks fill cache lines, and of which the central has all objects: those that begin and end with a line, and where
// more are wanted all that lie inside, since what is left of a line of marks is of use to nobody else.
size_t Central::take_stretches_from(Span *span, void **end, size_t wanted) {
  const SizeClassInfo &shape = info(size_class());
  const size_t bytes = shape.objects * shape.object_size, group = lines_group(shape.object_size);
  size_t taken = 0;
  for (size_t at = 0; at < bytes && taken < wanted; at += object_map::kBytesForLine) {
    const auto [first, behind, beyond] = stretch_at(shape, at);
    if (!bits::all_set(span->free_bits(), first, beyond)) continue;
    const size_t inside = (first + group - 1) & ~(group - 1);
    taken += take_range(span, inside, behind & ~(group - 1), end - taken, wanted - taken);
    if (taken < wanted) taken += take_range(span, first, behind, end - taken, wanted - taken);
  }
  count_taken(span, taken);
  return taken;
}

// Objects that fill whole lines, from where the central has all that do.
size_t Central::take_lines_from(Span *span, void **end, size_t wanted) {
  const SizeClassInfo &shape = info(size_class());
  const size_t group = lines_group(shape.object_size);
  const uint64_t firsts = ~uint64_t{0} / ((uint64_t{1} << group) - 1);  // of each group that a word has bits for
  size_t taken = 0;
  for (size_t word = span->search_from / 64; word < bits::words_for(shape.objects) && taken < wanted; ++word) {
    uint64_t whole = span->free_bits()[word];
    for (size_t bit = 1; bit < group; bit *= 2) whole &= whole >> bit;
    for (whole &= firsts; whole != 0 && taken < wanted; whole &= whole - 1) {
      const size_t index = word * 64 + static_cast<size_t>(__builtin_ctzll(whole));
      taken += take_range(span, index, index + group, end - taken, wanted - taken);
    }
  }
  count_taken(span, taken);
  return taken;
}

// In a heap full of holes none of many spans may have such objects: so a few are looked at.
constexpr int kLooks = 4;

template <class Take>
size_t Central::take_from_few(size_t wanted, size_t least, unsigned shard, Take take) {
  size_t taken = 0;
  Span *span = partial_[shard].front();
  for (int looks = 0; span != nullptr && looks < kLooks && taken < wanted; ++looks) {
    Span *const next = span->next;
    if (span->free_objects >= least) taken += take(span, taken);
    span = next;
  }
  return taken;
}

// What is left of the stretch that fills a line of marks, where the thread has an object: all others went past it.
size_t Central::take_beside(uintptr_t last, void **end, size_t wanted, unsigned shard) {
  const PageId page = arena.page_of(last);
  Span *span = partial_[shard].front();
  for (int looks = 0; span != nullptr && !span->covers(page); span = span->next) {
    if (++looks == kLooks) return 0;
  }
  if (span == nullptr) return 0;
  const Stretch stretch = stretch_at(info(size_class()), last - span->start());
  const size_t taken = take_range(span, stretch.first, stretch.behind, end, wanted);
  count_taken(span, taken);
  return taken;
}

// A thirty-second: threads are on the same lines of data in 5% of sh6's operations, and eleven programs with threads take 0.96 to 0.97 of one
// list's time. A sixteenth 4%, an eighth 3, in the same time, but server_cross_free, larson, thread_per_task and rptest take more memory
// than with one list: 0 to 3%, 2 to 4, and 4 to 7; a quarter 7 to 14.
constexpr uint64_t kMuchFree = 32;

bool Central::much_is_free() const {
  const uint64_t all = spans_ * info(size_class()).objects;
  return (all - objects_out_) * kMuchFree > all;
}

// A span that was another shard's. nullptr: none has a free object.
Span *Central::take_over(unsigned shard) {
  for (unsigned i = 1; i < kShards; ++i) {
    Span *span = partial_[(shard + i) % kShards].pop_front();
    if (span == nullptr) continue;
    span->shard = static_cast<uint8_t>(shard);
    partial_[shard].push_front(span);
    return span;
  }
  return nullptr;
}

// With a free object, where the shard has none. Where memory has been refused others' come before a new one: to find that none is to be had
// is costly, since all that is free and warm goes back first.
Span *Central::span_for(unsigned shard, bool may_be_new) {
  Span *span = much_is_free() || page_heap::growth_refused.load(std::memory_order_relaxed) ? take_over(shard) : nullptr;
  if (span != nullptr || !may_be_new) return span;
  span = new_span(shard);
  return span != nullptr ? span : take_over(shard);
}

// From the best to the least: the rest of where the thread is already, what nobody is at, a page of its own as long as the class has not
// that much free memory, whole lines whose marks are on others' lines, and anything.
size_t Central::fetch_apart(void **end, size_t wanted, uintptr_t last, unsigned shard) {
  const SizeClassInfo &shape = info(size_class());
  const size_t group = lines_group(shape.object_size), of_stretch = stretch_at(shape, 0).behind;
  {
    MutexLock guard(lock_);
    size_t taken = 0;
    if (partial_[shard].empty() && much_is_free()) take_over(shard);
    if (of_stretch >= 2) {  // the marks of others are elsewhere, and do not mind
      const auto take_stretches = [&](Span *span, size_t before) REQUIRES(lock_) {
        return take_stretches_from(span, end - taken - before, wanted - taken - before);
      };
      taken = take_beside(last, end, wanted, shard);
      taken += take_from_few(wanted - taken, of_stretch, shard, take_stretches);
      const uint64_t free = spans_ * shape.objects - objects_out_;
      const bool refused = page_heap::growth_refused.load(std::memory_order_relaxed);
      if (taken == 0 && shape.span_pages == 1 && free < shape.objects && !refused && new_span(shard) != nullptr) {
        taken = take_stretches(partial_[shard].front(), 0);
      }
    }
    if (taken == 0 && group > 1) {
      taken = take_from_few(wanted, group, shard, [&](Span *span, size_t before) REQUIRES(lock_) {
        return take_lines_from(span, end - before, wanted - before);
      });
    }
    objects_out_ += taken;
    if (taken != 0) return taken;
  }
  return fetch(end, wanted, shard);
}

size_t Central::fetch(void **end, size_t wanted, unsigned shard) {
  MutexLock guard(lock_);
  size_t fetched = 0;
  while (fetched < wanted) {
    Span *span = partial_[shard].front();
    if (span == nullptr) span = span_for(shard, fetched == 0);  // rather a short batch than new memory that nobody has asked for
    if (span == nullptr) break;
    const size_t taken = take_from(span, end - fetched, wanted - fetched);
    objects_out_ += taken;
    fetched += taken;
  }
  return fetched;
}

// A span that is entirely free is kept when it is the only one of its shard that has free objects: the next batch would need one like it.
// But where much is free, only when it is the only one of the class.
WARREN_COLD bool Central::is_kept(const Span *span) const {
  const IntrusiveList<Span> &own = partial_[span->shard];
  if (own.front() != span || span->next != nullptr) return false;
  if (!much_is_free()) return true;
  for (const auto &partial : partial_) {
    if (&partial != &own && !partial.empty()) return false;
  }
  return true;
}

void Central::empty(Span *span, IntrusiveList<Span> &emptied) {
  const auto let_go = [&](Span *free) REQUIRES(lock_) {
    partial_[free->shard].remove(free);
    --spans_;
    emptied.push_front(free);
  };
  if (is_kept(span)) return;
  const uint16_t objects = span->free_objects;
  let_go(span);
  for (auto &partial : partial_) {  // those that were kept when less was free
    Span *const other = partial.front();
    if (other != nullptr && other->free_objects == objects && !is_kept(other)) let_go(other);
  }
}

namespace {

// How many objects from the first on, which has an index in its span, follow each other there and share its word of bits.
WARREN_ALWAYS_INLINE size_t run_length(void *const *objects, size_t count, const SizeClassInfo &shape, size_t index) {
  if (count == 1 || address_of(objects[1]) - address_of(objects[0]) != shape.object_size) return 1;
  size_t most = 64 - index % 64;
  if (most > shape.objects - index) most = shape.objects - index;
  if (most > count) most = count;
  uintptr_t next = address_of(objects[0]) + shape.object_size;
  size_t length = 1;
  while (length < most && address_of(objects[length]) == next) {
    ++length;
    next += shape.object_size;
  }
  return length;
}

// Those that two threads freed at once, when neither saw the other. Returns how many.
WARREN_COLD size_t report_raced(void *const *objects, uint64_t which, size_t object_size) {
  size_t reported = 0;
  for (; which != 0; which &= which - 1, ++reported) fatal::double_free_raced(objects[__builtin_ctzll(which)], object_size);
  return reported;
}

}  // namespace

// What was allocated one after another is often freed so: objects that follow each other are counted, and put by one mask, and a word of
// bits is written once for up to 64. What was not has a span and a word to each object: the loop is as short as it can be, and where a
// span is a page the word's address comes from the object's, so that word and span arrive side by side.
//
// Bins may hold the sentinel (cache.h), which lies on page 0 and is passed over.
void Central::put(void *const *objects, size_t count, IntrusiveList<Span> &emptied) {
  const SizeClass own_class = size_class();
  const SizeClassInfo &shape = info(own_class);
  const uint64_t reciprocal = shape.reciprocal;
  const size_t span_bytes = PageCount{shape.span_pages}.bytes();
  const bool of_one_page = shape.span_pages == 1;
  const bool few = shape.objects <= kFewObjects;
  for (size_t i = 0; i < count;) {
    const PageId page = arena.page_of(address_of(objects[i]));
    if (WARREN_UNLIKELY(page.value == 0)) {
      ++i;
      continue;
    }
    Span *span = page_map::at(page);
    const PageId first = of_one_page ? page : span->first;
    const uintptr_t start = arena.address(first);
    size_t index = (address_of(objects[i]) - start) * reciprocal >> 32;
    // Freed twice at once, and its span has gone since: to the page heap, to somebody else, or to this class at another place.
    if (WARREN_UNLIKELY(span->state != SpanState::kObjects || span->size_class != own_class || !span->covers(page) ||
                        (!of_one_page && address_of(objects[i]) != start + index * shape.object_size))) {
      fatal::double_free_raced(objects[i++], shape.object_size);
      continue;
    }
    const size_t word = index / 64;
    uint64_t *free_bits = few ? &span->few_bits : arena.free_bits(first, shape.objects) + word;
    uint64_t bits_of_word = *free_bits;
    size_t put = 0;
    size_t run = run_length(objects + i, count - i, shape, index);
    uint64_t run_bits = ~uint64_t{0} >> (64 - run) << (index % 64);
    for (;;) {
      if (const uint64_t twice = bits_of_word & run_bits; WARREN_UNLIKELY(twice != 0)) {
        put -= report_raced(objects + i, twice >> (index % 64), shape.object_size);
      }
      put += run;
      bits_of_word |= run_bits;
      i += run;
      if (i == count) break;
      const size_t offset = address_of(objects[i]) - start;
      if (offset >= span_bytes) break;
      index = offset * reciprocal >> 32;
      if (index / 64 != word || (!of_one_page && offset != index * shape.object_size)) break;
      run = 1;
      run_bits = uint64_t{1} << (index % 64);
    }
    *free_bits = bits_of_word;
    if (WARREN_UNLIKELY(put == 0)) continue;  // the span may be gone already
    if (word * 64 < span->search_from) span->search_from = static_cast<uint16_t>(word * 64);
    if (span->free_objects == 0) partial_[span->shard].push_front(span);
    span->free_objects = static_cast<uint16_t>(span->free_objects + put);
    objects_out_ -= put;
    if (span->free_objects == shape.objects) empty(span, emptied);
  }
}

// Objects freed in no order each have a span and a word of bits of their own, and three misses one after another; asked for
// beforehand they come side by side. (Spans of objects that are out stay where they are, so this needs no lock.)
void Central::prefetch(void *const *objects, size_t count) const {
  // Where two lie on one page so do, as a rule, those between them: what was freed in order costs a look at one in nine.
  constexpr size_t kStep = 8;
  const SizeClassInfo &shape = info(size_class());
  const bool in_arena = shape.span_pages == 1 && shape.objects > kFewObjects;
  PageId last{};
  for (size_t i = 0; i < count; ++i) {
    const PageId page = arena.page_of(address_of(objects[i]));
    if (page.value == last.value) {
      if (i + kStep < count && arena.page_of(address_of(objects[i + kStep])).value == last.value) i += kStep;
      continue;
    }
    last = page;
    __builtin_prefetch(page_map::at(page), 1);
    if (in_arena) __builtin_prefetch(arena.free_bits(page, shape.objects), 1);
  }
  asm volatile("");  // g++ drops calls of functions that do nothing but prefetch: "no effect"
}

void Central::give_back(void *const *objects, size_t count) {
  prefetch(objects, count);
  IntrusiveList<Span> emptied;
  {
    MutexLock guard(lock_);
    put(objects, count, emptied);
  }
  while (Span *span = emptied.pop_front()) page_heap::free(span);
}

bool Central::is_adoptable(Span *span, uintptr_t object) const {
  if (span == nullptr || span->state != SpanState::kObjects || span->size_class != size_class()) return false;
  if (!span->covers(arena.page_of(object))) return false;
  const SizeClassInfo &shape = info(size_class());
  const uint32_t index = span->index_of(object);
  if (index >= shape.objects || span->start() + size_t{index} * shape.object_size != object) return false;
  return *object_map::of_class(size_class(), object) == 0 && !bits::test(span->free_bits(), index);
}

void Central::adopt(void *const *objects, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const uintptr_t object = address_of(objects[i]);
    if (!arena.contains(object)) continue;
    {
      MutexLock guard(lock_);
      if (!is_adoptable(page_map::at(arena.page_of(object)), object)) continue;
    }
    give_back(objects + i, 1);
  }
}

void Central::release_kept() {
  IntrusiveList<Span> kept;
  {
    MutexLock guard(lock_);
    const uint16_t objects = info(size_class()).objects;
    for (auto &partial : partial_) {
      for (Span *span = partial.front(), *next; span != nullptr; span = next) {
        next = span->next;
        if (span->free_objects != objects) continue;
        partial.remove(span);
        kept.push_front(span);
        --spans_;
      }
    }
  }
  while (Span *span = kept.pop_front()) page_heap::free(span);
}

Central::Stats Central::stats() {
  MutexLock guard(lock_);
  return Stats{spans_, objects_out_};
}

}  // namespace warren
