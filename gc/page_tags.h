// What the collector's heap has on each page of the arena, in two bytes, and the way from any word to an object.
// The marker asks this of every word it reads, so the tables are small enough for the second-level cache: 256 bytes for a MiB.
//
//   bits 0..6    size class of the page's span; kLargeTag for a large object's; 0 for pages that are not the collector's
//   bit 7        the objects hold no pointers
//   bits 8..12   which page of its span it is (not of large ones)
//   bit 13       watched: stores to the page are recorded in this cycle (gc/mutation.h)
//   bit 14       young: the span was made while marking was on, so all its objects are marked
//
// Callers: the marker, the sweeper, everything that is handed a pointer.
// Invariant: a page's tag is not 0 exactly while a kCollected span covers it, and that span's slice of the bitmap was
// cleared before the tag was written.
#pragma once

#include "allocator/page_map.h"

#include <atomic>

namespace warren::gc {

inline constexpr uint16_t kClassMask = 0x7f;
inline constexpr uint16_t kLargeTag = 0x7f;
inline constexpr uint16_t kNoscanTag = 0x80;
inline constexpr unsigned kPageIndexShift = 8;
inline constexpr uint16_t kPageIndexMask = 0x1f;
inline constexpr uint16_t kWatchedTag = 0x2000;
inline constexpr uint16_t kYoungTag = 0x4000;
static_assert(kYoungTag > (kWatchedTag | kPageIndexMask << kPageIndexShift | kNoscanTag | kClassMask));  // the highest
inline constexpr uint16_t kCycleTags = kWatchedTag | kYoungTag;  // taken away at the end of each cycle
inline constexpr uint16_t kPagesTag = 0x7e;  // in no table: of a marker's buffers
static_assert(kClassCount <= kPagesTag);

// The least object, so that a page's slice of the bitmap holds two bits for each.
inline constexpr size_t kMinObjectSize = 16;

// Allocated and marked objects of a span, 64 at a time, side by side so that the marker touches one cache line.
struct BitPair {
  uint64_t allocated;  // written by the span's owner; read by anybody, with __atomic loads
  uint64_t marked;     // written by markers with atomic operations; by the sweeper when nobody marks
};
static_assert(kPageSize / kMinObjectSize / 64 * sizeof(BitPair) == kBitmapBytesPerPage);

struct Tables {
  uintptr_t start = 0;  // the arena's
  size_t bytes = 0;     // of the arena, from its start, that have tags. Grows; a stale value hides objects made later only
  uint16_t *tags = nullptr;
  uint8_t *bits = nullptr;  // the arena's bitmap
};

extern Tables tables;

// Makes room for the tags of pages up to `end`. False: no memory. Takes a lock of its own (of rank kSpanSet).
bool cover(PageId end);

inline uint16_t tag_of(PageId page) { return __atomic_load_n(&tables.tags[page.value], __ATOMIC_ACQUIRE); }
inline BitPair *pairs_of(PageId first) { return reinterpret_cast<BitPair *>(arena.bits(first)); }
inline BitPair *pairs_of(const Span *span) { return pairs_of(span->first); }

constexpr bool is_large(uint16_t tag) { return (tag & kClassMask) == kLargeTag; }

// A place in the collector's heap that an object may occupy.
struct Slot {
  uintptr_t object;
  BitPair *pair;
  uint64_t bit;
  uint16_t tag;

  bool is_allocated() const { return (__atomic_load_n(&pair->allocated, __ATOMIC_RELAXED) & bit) != 0; }
  // acquire: pairs with the release with which the sweeper takes marks away.
  bool is_marked() const { return (__atomic_load_n(&pair->marked, __ATOMIC_ACQUIRE) & bit) != 0; }
  // Allocated, and not marked: what a marker looks for. acquire: as above.
  bool is_white() const {
    const uint64_t marked = __atomic_load_n(&pair->marked, __ATOMIC_ACQUIRE);
    return (__atomic_load_n(&pair->allocated, __ATOMIC_RELAXED) & ~marked & bit) != 0;
  }
  // Two markers that find an object unmarked at once both think that they were the first: it is scanned twice then. To tell them
  // apart would take a compare-and-exchange, on the most frequent path of all.
  void mark() const { __atomic_fetch_or(&pair->marked, bit, __ATOMIC_RELAXED); }
  void unmark() const { __atomic_fetch_and(&pair->marked, ~bit, __ATOMIC_RELAXED); }
};

// The slot on the page with this tag that `word` points into.
inline __attribute__((always_inline)) void fill_slot(uintptr_t word, uint16_t tag, Slot &slot, const Tables &in) {
  const uintptr_t offset = word - in.start;
  const PageId page{static_cast<uint32_t>(offset >> kPageShift)};
  slot.tag = tag;
  if (__builtin_expect(is_large(tag), 0)) {
    const Span *span = page_map::at(page);
    slot.object = span->start();
    slot.pair = pairs_of(span);
    slot.bit = 1;
    return;
  }
  const SizeClassInfo &shape = kSizeClasses[tag & kClassMask];
  const uint32_t page_index = (tag >> kPageIndexShift) & kPageIndexMask;
  const size_t inside = page_index * kPageSize + (offset & (kPageSize - 1));
  const auto index = static_cast<uint32_t>(inside * shape.reciprocal >> 32);
  // An index in the tail behind the last object has a bit too, that is never set.
  slot.object = word - inside + size_t{index} * shape.object_size;
  slot.pair = reinterpret_cast<BitPair *>(in.bits + size_t{page.value - page_index} * kBitmapBytesPerPage) + index / 64;
  slot.bit = uint64_t{1} << (index % 64);
}

// The slot that `word` points into, if it is an address of the collector's heap.
inline __attribute__((always_inline)) bool find_slot(uintptr_t word, Slot &slot, const Tables &in = tables) {
  const uintptr_t offset = word - in.start;
  if (offset >= in.bytes) return false;
  const uint16_t tag = __atomic_load_n(&in.tags[offset >> kPageShift], __ATOMIC_ACQUIRE);
  if (tag == 0) return false;
  fill_slot(word, tag, slot, in);
  return true;
}

// The same for a marker: false, too, where all objects are marked.
inline __attribute__((always_inline)) bool find_unmarked(uintptr_t word, Slot &slot, const Tables &in) {
  const uintptr_t offset = word - in.start;
  if (offset >= in.bytes) return false;
  const uint16_t tag = __atomic_load_n(&in.tags[offset >> kPageShift], __ATOMIC_ACQUIRE);
  if (tag == 0 || tag >= kYoungTag) return false;
  fill_slot(word, tag, slot, in);
  return true;
}

inline size_t object_size(const Slot &slot) {
  if (is_large(slot.tag)) return page_map::at(arena.page_of(slot.object))->bytes();
  return kSizeClasses[slot.tag & kClassMask].object_size;
}

}  // namespace warren::gc
