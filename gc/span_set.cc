// See span_set.h.
#include "gc/span_set.h"

#include "allocator/base/bitmap.h"
#include "allocator/page_heap.h"
#include "gc/page_states.h"
#include "gc/phase.h"
#include "gc/poison.h"
#include "gc/sampled_objects.h"

#include <cstring>

namespace warren::gc {

std::atomic<uint32_t> generation{1};

std::atomic<bool> marks_kept{false};  // relaxed: changed in kSettle, when nobody sweeps; phase::may_sweep() orders it

constinit WARREN_LARGE_TABLE_WITH_LOCKS SpanSet span_sets[2][kClassCount];

namespace {

// How many unswept spans a thread that needs one sweeps before it takes new pages. More: a denser heap, longer waits.
constexpr int kSweepTries = 100;

constinit Mutex cover_lock(LockRank::kSpanSet);

size_t objects_of(const Span *span) { return span->size_class.is_large() ? 1 : info(span->size_class).objects; }

size_t pair_count(const Span *span) { return (objects_of(span) + 63) / 64; }

// Inside the stop gate, so that marking neither begins nor ends meanwhile.
void set_tags(const Span *span) {
  const auto first = static_cast<uint16_t>((span->size_class.is_large() ? kLargeTag : span->size_class.value) |
                                           (span->noscan ? kNoscanTag : 0) | (phase::is_marking() ? kYoungTag : 0));
  for (uint32_t i = 0; i < span->count.value; ++i) {
    const auto index = static_cast<uint16_t>(span->size_class.is_large() ? 0 : i << kPageIndexShift);
    // release: pairs with the acquire in tag_of(); the bits were cleared before.
    __atomic_store_n(&tables.tags[span->first.value + i], static_cast<uint16_t>(first | index), __ATOMIC_RELEASE);
  }
}

// A span with no objects, swept.
void begin_anew(Span *span) {
  span->list = SpanSet::kOwned;
  span->specials = 0;
  span->sampled = 0;
  span->born_black = phase::is_marking();
  span->free_objects = static_cast<uint16_t>(objects_of(span));
  span->search_from = 0;
  span->generation = generation.load(std::memory_order_relaxed);
  memset(pairs_of(span), 0, pair_count(span) * sizeof(BitPair));
  if (WARREN_UNLIKELY(poison::is_on()) && !span->size_class.is_large()) {
    poison::fill(span->start(), span->bytes());
    span->zero = false;
  }
  set_tags(span);
}

// release: who sees a mark gone, sees that the span is swept (heap.cc, find_live).
void forget_marks(Span *span) {
  BitPair *pairs = pairs_of(span);
  for (size_t i = 0; i < pair_count(span); ++i) __atomic_store_n(&pairs[i].marked, 0, __ATOMIC_RELEASE);
}

}  // namespace

Span *SpanSet::pop_unswept() {
  MutexLock guard(lock_);
  Span *span = unswept_partial_.pop_front();
  if (span == nullptr) span = unswept_full_.pop_front();
  if (span != nullptr) span->list = kOwned;
  return span;
}

void SpanSet::insert(Span *span) {
  const bool has_room = span->free_objects != 0;
  span->list = has_room ? kPartial : kFull;
  (has_room ? partial_ : full_).push_front(span);
}

Span *SpanSet::take() {
  {
    MutexLock guard(lock_);
    if (Span *span = partial_.pop_front(); span != nullptr) {
      span->list = kOwned;
      return span;
    }
  }
  for (int i = 0; i < kSweepTries && phase::may_sweep(); ++i) {
    Span *span = pop_unswept();
    if (span == nullptr) return nullptr;
    sweep(span);
    if (span->free_objects != 0) return span;
    put(span);
  }
  return nullptr;
}

void SpanSet::put(Span *span) {
  MutexLock guard(lock_);
  insert(span);
}

void SpanSet::put_unswept(Span *span) {
  MutexLock guard(lock_);
  span->list = kFull;
  unswept_full_.push_front(span);
}

bool SpanSet::sweep_one() {
  Span *span = pop_unswept();
  if (span == nullptr) return false;
  sweep(span);
  if (has_no_object(span)) {
    free_span(span);
  } else {
    put(span);
  }
  return true;
}

void SpanSet::flip() {
  MutexLock guard(lock_);
  unswept_partial_ = partial_;
  unswept_full_ = full_;
  partial_ = full_ = IntrusiveList<Span>{};
}

void SpanSet::forget_all() {
  MutexLock guard(lock_);
  partial_ = full_ = unswept_partial_ = unswept_full_ = IntrusiveList<Span>{};
}

bool SpanSet::free_object(Span *span, const Slot &slot) {
  MutexLock guard(lock_);
  if (span->list == kOwned) return false;
  if (!is_swept(span)) {  // what is not marked dies when it is swept
    if (!slot.is_marked()) return false;
    slot.unmark();
    return true;
  }
  if (!slot.is_allocated()) return false;
  __atomic_store_n(&slot.pair->allocated, slot.pair->allocated & ~slot.bit, __ATOMIC_RELAXED);
  slot.unmark();
  list_of(span).remove(span);
  span->free_objects++;
  span->search_from = 0;
  insert(span);
  return true;
}

IntrusiveList<Span> &SpanSet::list_of(const Span *span) {
  if (is_swept(span)) return span->list == kFull ? full_ : partial_;
  return span->list == kFull ? unswept_full_ : unswept_partial_;
}

bool SpanSet::take_large(Span *span) {
  MutexLock guard(lock_);
  if (span->list == kOwned) return false;
  const BitPair *pair = pairs_of(span);
  if (((is_swept(span) ? pair->allocated : pair->marked) & 1) == 0) return false;
  list_of(span).remove(span);
  span->list = kOwned;
  return true;
}

void sweep(Span *span) {
  BitPair *pairs = pairs_of(span);
  const size_t count = pair_count(span);
  size_t live = 0;
  if (WARREN_UNLIKELY(poison::is_on())) poison::fill_dead(span);
  if (WARREN_UNLIKELY(sampled_objects::any_in(span))) sampled_objects::forget_dead(span);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t marked = pairs[i].marked;
    live += bits::count(marked);
    // relaxed: whoever asks about an object has a pointer to it, or is content with either answer
    __atomic_store_n(&pairs[i].allocated, marked, __ATOMIC_RELAXED);
  }
  span->free_objects = static_cast<uint16_t>(objects_of(span) - live);
  span->search_from = 0;
  // release: pairs with the acquire in is_swept().
  __atomic_store_n(&span->generation, generation.load(std::memory_order_relaxed), __ATOMIC_RELEASE);
  if (marks_kept.load(std::memory_order_relaxed) && !span->born_black) return;
  span->born_black = false;
  forget_marks(span);
}

size_t marked_objects(const Span *span) {
  const BitPair *pairs = pairs_of(span);
  size_t marked = 0;
  // relaxed: marking is over
  for (size_t i = 0; i < pair_count(span); ++i) marked += bits::count(__atomic_load_n(&pairs[i].marked, __ATOMIC_RELAXED));
  return marked;
}

namespace {

template <class Visit>
void for_each_span(Visit visit) {
  const size_t pages = __atomic_load_n(&tables.bytes, __ATOMIC_ACQUIRE) >> kPageShift;
  for (size_t page = 0; page < pages;) {
    const PageId id{static_cast<uint32_t>(page)};
    ++page;
    if (tag_of(id) == 0) continue;
    Span *span = page_map::at(id);
    visit(span);
    page = span->end().value;
  }
}

}  // namespace

OldBytes count_old() {
  OldBytes old;
  for_each_span([&old](const Span *span) {
    const size_t bytes = marked_objects(span) * (span->size_class.is_large() ? span->bytes() : info(span->size_class).object_size);
    old.all += bytes;
    if (span->noscan || bytes == 0) return;
    old.scannable += bytes;
    const size_t pages = page_states::count({span->start(), span->start() + span->bytes()}, page_states::kRemembered);
    old.remembered += bytes / (span->bytes() / kOsPageSize) * pages;
  });
  return old;
}

bool forget_old() {
  marks_kept.store(false, std::memory_order_relaxed);
  bool all = true;
  for_each_span([&all](Span *span) {
    if (is_swept(span)) {
      forget_marks(span);
    } else {
      all = false;
    }
  });
  return all;
}

void free_span(Span *span) {
  for (PageId page = span->first; page < span->end(); page = page + PageCount{1}) {
    __atomic_store_n(&tables.tags[page.value], uint16_t{0}, __ATOMIC_RELAXED);  // nobody has a pointer into it
  }
  page_heap::free(span);
}

namespace span_sets_for_fork {

void lock() NO_THREAD_SAFETY_ANALYSIS {
  for (auto &kind : span_sets) {
    for (SpanSet &set : kind) set.lock().lock_for_fork();
  }
  cover_lock.lock_for_fork();
}

void unlock(bool in_child) NO_THREAD_SAFETY_ANALYSIS {
  cover_lock.unlock_after_fork(in_child);
  for (auto &kind : span_sets) {
    for (SpanSet &set : kind) set.lock().unlock_after_fork(in_child);
  }
}

namespace {

// Whether its making was complete, and its end has not begun.
bool has_all_tags(const Span *span) {
  for (uint32_t i = 0; i < span->count.value; ++i) {
    if (tables.tags[span->first.value + i] == 0) return false;
  }
  return true;
}

// Of a swept span: whoever had it may have been halfway through a run, or through taking marks away.
void count_anew(Span *span) {
  BitPair *pairs = pairs_of(span);
  size_t live = 0;
  for (size_t i = 0; i < pair_count(span); ++i) {
    live += bits::count(pairs[i].allocated);
    pairs[i].marked = 0;
  }
  span->free_objects = static_cast<uint16_t>(objects_of(span) - live);
  span->search_from = 0;
  span->zero = false;
}

}  // namespace

void rebuild_in_child(bool (*owned)(const Span *span)) {
  for (auto &kind : span_sets) {
    for (SpanSet &set : kind) set.forget_all();
  }
  const PageId end{static_cast<uint32_t>(tables.bytes >> kPageShift)};
  for (PageId page{0}; page < end && arena.contains(arena.address(page));) {
    Span *span = page_map::at(page);
    page = page + PageCount{1};
    if (span == nullptr || span->first.value + 1 != page.value || span->state != SpanState::kCollected) continue;
    page = span->end();
    if (page.value > end.value || owned(span)) continue;
    if (!has_all_tags(span)) begin_anew(span);
    if (is_swept(span)) {
      count_anew(span);
      set_of(span).put(span);
    } else {
      set_of(span).put_unswept(span);
    }
  }
}

}  // namespace span_sets_for_fork

bool cover(PageId end) {
  if (size_t{end.value} << kPageShift <= __atomic_load_n(&tables.bytes, __ATOMIC_RELAXED)) return true;
  MutexLock guard(cover_lock);
  const PageCount covered = arena_growth::prepare_tags(end);
  tables.start = arena.start;
  tables.tags = arena_growth::tags();
  tables.bits = arena.bitmap;
  __atomic_store_n(&tables.bytes, covered.bytes(), __ATOMIC_RELEASE);
  return covered.value >= end.value;
}

Span *new_span(PageCount pages, SizeClass size_class, bool noscan) {
  Span *span = page_heap::allocate(pages, SpanState::kCollected, size_class);
  if (span == nullptr) return nullptr;
  if (!cover(span->end())) {
    page_heap::free(span);
    return nullptr;
  }
  span->noscan = noscan;
  begin_anew(span);
  return span;
}

}  // namespace warren::gc
