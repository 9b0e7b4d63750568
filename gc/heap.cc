// See heap.h.
#include "gc/heap.h"

#include "allocator/base/fatal.h"
#include "allocator/base/layout.h"
#include "allocator/base/stop_gate.h"
#include "allocator/heap.h"
#include "allocator/page_heap.h"
#include "gc/cycle.h"
#include "gc/phase.h"
#include "gc/poison.h"
#include "gc/sampled_objects.h"
#include "gc/specials.h"

#include <cstring>

namespace warren::gc::heap {

std::atomic<uint64_t> live_bytes{0};
std::atomic<uint64_t> scannable_bytes{0};
std::atomic<bool> freed_by_hand{false};

namespace {

// relaxed, both: sums that nothing hangs on.
std::atomic<uint64_t> total_bytes{0};
WARREN_SHOW_ADDRESS("gc.live_bytes", &live_bytes);
WARREN_SHOW_ADDRESS("gc.total_bytes", &total_bytes);

constexpr size_t kTinyBlock = 16;

// No arena is larger (the option's upper bound), and page counts hold it.
constexpr size_t kMaxObject = size_t{16} << 40;

SizeClass class_of(size_t size) {
  return size <= kMaxSmallSize ? SizeClass{kSmallClasses.class_of[(size + 7) / 8]} : class_of_medium_size(size);
}

// Inside the stop gate, with what was taken: who counts while the program stands still counts neither twice nor not at all.
void note_taken(size_t bytes, Kind kind) {
  if (kind == Kind::kScan) scannable_bytes.fetch_add(bytes, std::memory_order_relaxed);
  live_bytes.fetch_add(bytes, std::memory_order_relaxed);
  total_bytes.fetch_add(bytes, std::memory_order_relaxed);
}

// What an allocation has come to, beside its object.
struct Taken {
  size_t bytes = 0;  // from spans
  bool sampled = false;
};

// A run for the class into this thread's cache, and the first object of it.
void *refill_and_take(SizeClass size_class, Kind kind, Taken *taken) {
  const stop_gate::Inside gate;
  Cache *cache = caches::mine();
  if (cache == nullptr) return nullptr;
  const auto noscan = static_cast<unsigned>(kind);
  const unsigned number = size_class.value;
  Run &run = cache->runs[noscan][number];
  const size_t size = info(size_class).object_size;
  bool sampled = sampled_objects::comes_to_sample(cache, noscan, number);
  if (run.end - run.next < size) {
    if (!caches::refill(cache, size_class, kind == Kind::kNoscan, &taken->bytes)) return nullptr;
    note_taken(taken->bytes, kind);
    sampled_objects::count(cache, noscan, number);
    sampled = sampled_objects::comes_to_sample(cache, noscan, number);
  }
  void *object = whole(at_address<void>(run.next));
  run.next += size;
  if (WARREN_UNLIKELY(sampled)) {
    sampled_objects::add(cache, address_of(object), size);
    sampled_objects::count(cache, noscan, number);
    taken->sampled = true;
  }
  return object;
}

void *allocate_large(size_t size, Kind kind, Taken *taken) {
  const PageCount pages = PageCount::covering(size);
  const stop_gate::Inside gate;
  Span *span = new_span(pages, SizeClass{0}, kind == Kind::kNoscan);
  if (span == nullptr) return nullptr;
  if (const size_t dirty = span->dirty_bytes(); dirty != 0) memset(at_address<void>(span->start()), 0, dirty);
  span->zero = false;
  span->free_objects = 0;
  BitPair *pair = pairs_of(span);
  __atomic_store_n(&pair->allocated, 1, __ATOMIC_RELAXED);
  if (phase::is_marking()) {
    __atomic_store_n(&pair->marked, 1, __ATOMIC_RELAXED);
    phase::note_allocated_black(span->bytes(), kind == Kind::kNoscan);
  }
  void *object = whole(at_address<void>(span->start()));
  set_of(span).put(span);
  taken->bytes = pages.bytes();
  note_taken(taken->bytes, kind);
  if (Cache *cache = caches::mine(); cache != nullptr && sampled_objects::is_due(cache, pages.bytes())) {
    sampled_objects::add(cache, address_of(object), pages.bytes());
    taken->sampled = true;
  }
  return object;
}

bool find_live(const void *pointer, Slot &slot) {
  const stop_gate::Inside gate;  // no cycle ends between two looks
  if (!find_slot(address_of(pointer), slot)) return false;
  const Span *span = page_map::at(arena.page_of(slot.object));
  // In a span that is still to be swept, what is not marked is dead. The sweeper takes marks away only after it has said that
  // the span is swept.
  return (is_swept(span) || slot.is_marked() || is_swept(span)) && slot.is_allocated();
}

void forget_specials(const Span *span, const Slot &slot) {
  if (span->specials != 0) specials::forget(slot);
}

// False: nothing may be taken out of spans while marks are made and read, or another thread allocates from this one.
bool release_small(const Slot &slot) {
  const stop_gate::Inside gate;
  Span *span = page_map::at(arena.page_of(slot.object));
  forget_specials(span, slot);
  if (!phase::may_sweep()) return false;
  if (WARREN_UNLIKELY(poison::is_on())) poison::fill(slot.object, object_size(slot));  // before anybody can take it
  return caches::free_in_mine(span, slot) || set_of(span).free_object(span, slot);
}

// Gives the pages back at once. The collector's thread, that looks at spans between cycles too, is kept away.
bool release_large(const Slot &slot) {
  Span *span = page_map::at(arena.page_of(slot.object));
  forget_specials(span, slot);
  if (!phase::may_sweep()) return false;
  const MutexLock background(cycle::background_lock);
  const stop_gate::Inside gate;
  if (!phase::may_sweep()) return false;
  if (!set_of(span).take_large(span)) return false;
  if (WARREN_UNLIKELY(poison::is_on())) poison::fill(span->start(), span->bytes());
  free_span(span);
  return true;
}

void release_live(void *object) {
  Slot slot;
  if (!find_live(object, slot)) return fatal::not_collected("wr_gc_free", object);
  const size_t size = object_size(slot);
  if ((slot.tag & kNoscanTag) != 0 && size == kTinyBlock) return;  // others may live in the block
  if (slot.object != address_of(object)) return fatal::not_collected("wr_gc_free", object);
  if (Span *span = page_map::at(arena.page_of(slot.object)); WARREN_UNLIKELY(sampled_objects::any_in(span))) {
    sampled_objects::forget(span, slot.object);
  }
  const bool freed = is_large(slot.tag) ? release_large(slot) : release_small(slot);
  if (freed) {
    live_bytes.fetch_sub(size, std::memory_order_relaxed);
    if ((slot.tag & kNoscanTag) == 0) scannable_bytes.fetch_sub(size, std::memory_order_relaxed);
  } else if (size <= kMaxClassSize) {
    memset(object, 0, size);  // it keeps nothing alive any more, and the next cycle finds it
  }
  keep_alive(object);
}

}  // namespace

WARREN_NOINLINE void *allocate_slow(size_t size, Kind kind) {
  const size_t padded = size + (size >= kMinPaddedSize);
  if (padded < size || padded > kMaxObject) return nullptr;
  if (!cycle::is_set_up() && !cycle::set_up()) return nullptr;
  for (int attempt = 0;; ++attempt) {
    Taken taken;
    void *object = padded <= kMaxClassSize ? refill_and_take(class_of(padded), kind, &taken)
                                           : allocate_large(padded, kind, &taken);
    if (WARREN_LIKELY(object != nullptr)) {
      cycle::pay_for(taken.bytes);
      if (WARREN_UNLIKELY(taken.sampled)) sampled_objects::after();
      return object;
    }
    if (attempt == 2) return nullptr;
    cycle::collect();
    if (attempt == 1) release_free_memory();
  }
}

void *allocate_aligned(size_t size, size_t alignment, Kind kind) {
  const size_t padded = size + (size >= kMinPaddedSize);
  if (padded >= size && padded <= kMaxClassSize) {
    // A class's objects follow each other from the start of a page. So do larger ones, and those of the largest class.
    uint8_t number = class_of(padded).value;
    while (kSizeClasses[number].object_size % alignment != 0) ++number;
    const size_t all = kSizeClasses[number].object_size;
    size = all - (all >= kMinPaddedSize);
  }
  return allocate(size, kind);
}

void *allocate_tiny(size_t size) {
  const size_t align = size % 8 == 0 ? 8 : size % 4 == 0 ? 4 : size % 2 == 0 ? 2 : 1;
  if (Cache *cache = current_cache_or_null) {
    const size_t left = align_down(cache->tiny_left, align);
    if (size != 0 && left >= size) {
      cache->tiny_left = static_cast<uint32_t>(left - size);
      return at_address<void>(cache->tiny_end - left);
    }
  }
  void *block = allocate(kTinyBlock, Kind::kNoscan);
  Cache *cache = current_cache_or_null;
  if (block != nullptr && cache != nullptr && size != 0 && cache->tiny_left < kTinyBlock - size) {
    cache->tiny_left = static_cast<uint32_t>(kTinyBlock - size);
    cache->tiny_end = address_of(block) + kTinyBlock;
  }
  return block;
}

void *base_of(const void *pointer) {
  Slot slot;
  void *base = whole(find_live(pointer, slot) ? at_address<void>(slot.object) : nullptr);
  keep_alive(pointer);
  return base;
}

size_t size_of(const void *object) {
  Slot slot;
  const size_t size = find_live(object, slot) ? object_size(slot) : 0;
  keep_alive(object);
  return size;
}

void *reallocate(void *object, size_t size) {
  Slot slot;
  if (!find_live(object, slot)) {
    fatal::not_collected("wr_gc_realloc", object);
    return nullptr;
  }
  const size_t before = slot.object + object_size(slot) - address_of(object);
  const bool noscan = (slot.tag & kNoscanTag) != 0;
  const size_t padded = size + (size >= kMinPaddedSize);
  const bool shared = noscan && object_size(slot) == kTinyBlock;
  if (!shared && slot.object != address_of(object)) {
    fatal::not_collected("wr_gc_realloc", object);
    return nullptr;
  }
  if (!shared && padded <= before && padded >= before / 2) {
    // What lies behind is zero again when it grows back.
    memset(static_cast<char *>(object) + size, 0, before - size);
    return object;
  }
  void *fresh = shared && size < kTinyBlock ? allocate_tiny(size) : allocate(size, noscan ? Kind::kNoscan : Kind::kScan);
  if (fresh == nullptr) return nullptr;
  memcpy(fresh, object, before < size ? before : size);
  if (!shared) release_live(object);
  keep_alive(object);
  return fresh;
}

void release(void *object) {
  if (!freed_by_hand.load(std::memory_order_relaxed)) freed_by_hand.store(true, std::memory_order_relaxed);
  release_live(object);
}

Stats stats() { return {live_bytes.load(std::memory_order_relaxed), total_bytes.load(std::memory_order_relaxed)}; }

}  // namespace warren::gc::heap
