// The heap as the rest of warren sees it, and its fast paths.
//
// malloc: class from a table, pop from the thread's bin, mark the block live. free: the block's mark
// is its class and the proof that it is live; clear it, push into the thread's bin. Everything else
// (no cache yet, empty or full bin, above 1 KiB, misuse) is one branch that leaves for a `_slow`
// function by tail call. tests/allocator/fast_path_test.py counts the instructions.
//
// Callers: preload/. Invariant: nothing here sets errno on failure or changes it on success.
#pragma once

#include "allocator/base/annotations.h"
#include "allocator/base/tls.h"
#include "allocator/bin_x86_64.h"
#include "allocator/object_map.h"

#include <atomic>
#include <bit>

namespace warren {

namespace sampling {

// Written under the cache registry's lock; relaxed: a thread may see a change some allocations late.
extern std::atomic<bool> counting;
inline bool counts() { return counting.load(std::memory_order_relaxed); }  // whether allocations are counted, see sampling.h

// Whether they ever were: the tables for that have been written to.
extern std::atomic<bool> counted_once;

}  // namespace sampling

// The distance of the thread's cache from hot.empty: 0, as in a thread that has just begun or is
// inside a slow path, means that there is none.
extern WARREN_TLS intptr_t cache_distance;

WARREN_ALWAYS_INLINE CacheHead *current_cache() {
  return at_address<CacheHead>(address_of(&hot.empty) + static_cast<uintptr_t>(cache_distance));
}

// `Slow` takes over whenever the answer is not at hand; it gets the arguments of the call.
template <void *(*Slow)(size_t)>
WARREN_ALWAYS_INLINE void *allocate(size_t size) {
  if (WARREN_UNLIKELY(size > kMaxSmallSize)) return Slow(size);
  CacheHead *cache = current_cache();
  const size_t size_class = cache->class_of[size];
  void *block = bin::top_block(cache, size_class);
  uint8_t *mark = cache->fine_from_zero + object_map::place_of(address_of(block) >> kOctetShift);
  if (WARREN_UNLIKELY(*mark != 0)) return Slow(size);
  // In this order: a signal handler that allocates in between must not find a live block on top.
  bin::lower_top(cache, size_class);
  *mark = static_cast<uint8_t>(size_class);
  return block;
}

// What each of the frees does at last. False: the bin is full, or shut.
WARREN_ALWAYS_INLINE bool push_freed(void *block, uint8_t *mark, size_t size_class) {
  CacheHead *cache = current_cache();
  void **top = cache->top[size_class];
  if (WARREN_UNLIKELY(top >= cache->limit[size_class])) return false;
  *mark = 0;
  *top = block;
  bin::count_free(cache, size_class);
  bin::raise_top(cache, size_class);
  return true;
}

// The class is what the page's hint says, so that the processor goes on before the mark has arrived from memory, which for a block that
// has not been used lately takes longer than all the rest; the mark must say the same. (The class from the mark: 6 instructions less,
// and a fifth to a third more time for churn over 200,000 blocks.)
template <void (*Slow)(void *)>
WARREN_ALWAYS_INLINE void release(void *block) {
  // The rotation takes the low bits of a misaligned pointer to the top, past every bound.
  const size_t octet = std::rotr(address_of(block) - arena.start, int{kOctetShift});
  if (WARREN_UNLIKELY(octet >= arena.octet_count)) return Slow(block);
  const size_t size_class = __atomic_load_n(&arena.class_hints[octet >> (kPageShift - kOctetShift)], __ATOMIC_RELAXED);
  uint8_t *mark = arena.fine + object_map::place_of(octet);
  if (WARREN_UNLIKELY(*mark != size_class)) return Slow(block);
  if (WARREN_UNLIKELY(!push_freed(block, mark, size_class))) return Slow(block);  // bin 0 is shut: no hint and no mark, no push
}

// release() of a block whose size the caller knows, as operator delete does. The class comes from the size, so that the processor
// goes on before the mark has arrived from memory, which for a block that has not been used lately takes longer than all the
// rest; the mark must say the same. `Slow` is release() itself, for blocks that are larger, or larger than need be, or packed tiny
// ones.
template <void (*Slow)(void *)>
WARREN_ALWAYS_INLINE void release_sized(void *block, size_t size) {
  if (WARREN_UNLIKELY(size > kMaxSmallSize)) return Slow(block);
  const size_t size_class = quick_class_of(size).value;  // not the cache's table, which names no class while allocations are counted
  const size_t octet = std::rotr(address_of(block) - arena.start, int{kOctetShift});
  if (WARREN_UNLIKELY(octet >= arena.octet_count)) return Slow(block);
  uint8_t *mark = arena.fine + object_map::place_of(octet);
  if (WARREN_UNLIKELY(*mark != size_class)) return Slow(block);
  if (WARREN_UNLIKELY(!push_freed(block, mark, size_class))) return Slow(block);
}

// The two halves of a malloc that is counted, around a block at hand: false, it is due to be sampled, and nothing has changed.
WARREN_ALWAYS_INLINE bool take_counted(CacheHead *cache, size_t size_class, uint8_t *mark, size_t size) {
  if (WARREN_UNLIKELY(bin::count_down(cache, size))) {
    cache->countdown += static_cast<int64_t>(size);
    return false;
  }
  bin::lower_top(cache, size_class);
  *mark = static_cast<uint8_t>(size_class);
  return true;
}

// allocate() for a small block while allocations are counted: all of it once more with the table of those days, and the count. `Slow`
// takes over whenever the block is not at hand or due to be sampled, or nobody counts; nothing has changed then.
template <void *(*Slow)(size_t)>
WARREN_ALWAYS_INLINE void *allocate_small_counted(size_t size) {
  CacheHead *cache = current_cache();
  const size_t size_class = cache->counted_class_of[size];
  void *block = bin::top_block(cache, size_class);
  uint8_t *mark = cache->fine_from_zero + object_map::place_of(address_of(block) >> kOctetShift);
  if (WARREN_UNLIKELY(*mark != 0)) return Slow(size);
  if (WARREN_UNLIKELY(!take_counted(cache, size_class, mark, size))) return Slow(size);
  return block;
}

// Likewise a block of any class but the tiny one, for a request of `size` bytes. nullptr instead of `Slow`.
template <uint8_t *(*MarkOf)(uintptr_t)>
WARREN_ALWAYS_INLINE void *allocate_marked_counted(SizeClass size_class, size_t size) {
  CacheHead *cache = current_cache();
  if (!cache->counts_quickly()) return nullptr;
  void *block = bin::top_block(cache, size_class.value);
  uint8_t *mark = MarkOf(address_of(block));
  if (WARREN_UNLIKELY(*mark != 0)) return nullptr;
  return WARREN_LIKELY(take_counted(cache, size_class.value, mark, size)) ? block : nullptr;
}

WARREN_ALWAYS_INLINE void *allocate_of_class_counted(SizeClass size_class, size_t size) {
  if (info(size_class).object_size <= kMaxSmallSize) return allocate_marked_counted<object_map::fine>(size_class, size);
  return allocate_marked_counted<object_map::coarse>(size_class, size);
}

constexpr bool is_medium(size_t size) { return size - (kMaxSmallSize + 1) <= kMaxClassSize - (kMaxSmallSize + 1); }

// What a slow function does first while allocations are counted.
template <void *(*Slow)(size_t)>
WARREN_ALWAYS_INLINE void *allocate_counted(size_t size) {
  if (size <= kMaxSmallSize) return allocate_small_counted<Slow>(size);
  if (size > kMaxClassSize) return Slow(size);
  void *block = allocate_marked_counted<object_map::coarse>(class_of_medium_size(size), size);
  return WARREN_LIKELY(block != nullptr) ? block : Slow(size);
}

// A block of a class whose marks lie in the plane that MarkOf reads. nullptr: not at hand.
template <uint8_t *(*MarkOf)(uintptr_t)>
WARREN_ALWAYS_INLINE void *allocate_marked(SizeClass size_class) {
  CacheHead *cache = current_cache();
  void *block = bin::top_block(cache, size_class.value);
  uint8_t *mark = MarkOf(address_of(block));
  if (WARREN_UNLIKELY(*mark != 0)) return nullptr;
  bin::lower_top(cache, size_class.value);
  *mark = size_class.value;
  return block;
}

// allocate() for a block of any class. nullptr: not at hand.
WARREN_ALWAYS_INLINE void *allocate_of_class(SizeClass size_class) {
  if (info(size_class).object_size <= kMaxSmallSize) return allocate_marked<object_map::fine>(size_class);
  return allocate_marked<object_map::coarse>(size_class);
}

// release() of a medium block, which is marked in the coarse plane. False: it is none, or its bin is full.
WARREN_ALWAYS_INLINE bool release_medium(void *block) {
  const size_t place = std::rotr(address_of(block) - arena.start, int{kCoarseShift});
  if (place >= arena.octet_count >> (kCoarseShift - kOctetShift)) return false;
  uint8_t *mark = arena.coarse + place;
  const size_t size_class = *mark;
  if (size_class == 0 || size_class >= kSentinelMark) return false;
  return push_freed(block, mark, size_class);
}

// What slow functions try first while nobody counts: requests above kMaxSmallSize, and for tiny ones, of which this thread may have some
// that are packed. nullptr: not at hand, or no such request.
WARREN_ALWAYS_INLINE void *allocate_tiny_or_medium(size_t size) {
  if (is_medium(size)) return allocate_marked<object_map::coarse>(class_of_medium_size(size));
  return size > kTinySize ? nullptr : allocate_marked<object_map::fine>(SizeClass{kTinyClass});
}

// allocate_aligned() for a block that is at hand, of more than kTinySize bytes. nullptr: it is not, or somebody counts, or `align` is
// none. What depends on the size, which changes from call to call where buffers are aligned, is computed without a branch.
WARREN_ALWAYS_INLINE void *allocate_aligned_at_hand(size_t align, size_t size) {
  const size_t least = size < align ? align : size;
  if (!is_power_of_two(align) || align > kPageSize || least - (kTinySize + 1) > kMaxClassSize - (kTinySize + 1)) return nullptr;
  if (WARREN_UNLIKELY(sampling::counts())) return nullptr;
  const size_t size_class = aligned_class(align, class_of_class_size(least)).value;
  CacheHead *cache = current_cache();
  void *block = bin::top_block(cache, size_class);
  uint8_t *mark = object_map::small_or_medium(size_class, address_of(block));
  if (WARREN_UNLIKELY(*mark != 0)) return nullptr;
  bin::lower_top(cache, size_class);
  *mark = static_cast<uint8_t>(size_class);
  return block;
}

// What is behind the fast path of malloc and new: `Otherwise` is the rest, `Counted` allocate_counted() for it, which kept apart
// costs those nothing that do not count.
template <void *(*Otherwise)(size_t), void *(*Counted)(size_t)>
WARREN_ALWAYS_INLINE void *allocate_beyond(size_t size) {
  if (size > kMaxClassSize) return Otherwise(size);
  if (WARREN_UNLIKELY(sampling::counts())) return Counted(size);
  void *block = allocate_tiny_or_medium(size);
  return WARREN_LIKELY(block != nullptr) ? block : Otherwise(size);
}

// The whole of each operation, for the `Slow`s of preload/. nullptr: no memory, or an impossible size.
void *allocate_slow(size_t size);
void *allocate_zeroed(size_t size);
void *allocate_zeroed_counted(size_t size);  // the same where allocations are counted for ever: no try that must fail
void *allocate_aligned(size_t align, size_t size);  // align: a power of two
void release_slow(void *block, const char *function);  // what release() and release_medium() have left

// `size` is not 0 and `block` not nullptr. nullptr: the block is as before.
void *reallocate(void *block, size_t size, const char *function);

// 0 for nullptr.
size_t usable_size(void *block, const char *function);

// True for any address that may be a block of this heap: inside the arena or the emergency pool.
bool owns(const void *block);

// Bytes that a request is rounded up to.
size_t rounded_size(size_t size);

// Gives back what can be given back now: this thread's cache, kept spans, free pages. Returns bytes.
size_t release_free_memory();

namespace heap {

// Sets the heap up if that has not happened; the first malloc does so by itself. False: no memory.
bool set_up();
bool is_set_up();

// Where it is not nullptr, a thread calls it each time it has had to go beyond its cache: who frees may slow those down that
// allocate. relaxed: a thread may see a change some allocations late.
extern std::atomic<void (*)()> brake;

// Frees blocks that nobody else knows. For a thread that no signal interrupts.
void release_lost(void *const *blocks, size_t count);

}  // namespace heap
}  // namespace warren
