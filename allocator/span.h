// A span: a run of pages with one purpose. Who owns it when:
//
//   state       owner, and what guards the fields
//   kFree       the page heap (its lock); in the free list of its length, warm or released
//   kObjects    the central of its class (that class's lock); cut into objects of one size
//   kLarge      the program: one block of its own; fields are still until it is freed or resized
//   kCollected  the collector: cut into objects of one size, or one large object (gc/)
//   kReleasing  the scavenger or a thread that makes up for growth, for the length of one madvise; in no list, and merged with nothing
//   kHole       nobody, for ever: a range that somebody else's mapping occupies
//
// kFree -> kObjects | kLarge | kCollected by page_heap::allocate, back by page_heap::free; kFree -> kReleasing -> kFree by
// page_heap::scavenge, and where the heap grows beyond its peak; kFree -> kHole when pages are lost.
// Spans live in metadata, never in the arena. Invariant: page_map names a span at least on its first
// and last page; spans of objects and the collector's on all of them.
#pragma once

#include "allocator/hot.h"
#include "allocator/size_class.h"

namespace warren {

enum class SpanState : uint8_t { kFree, kObjects, kLarge, kCollected, kReleasing, kHole };

// What one word has bits for.
inline constexpr unsigned kFewObjects = 64;

struct Span {
  Span *next;
  Span *prev;
  PageId first;
  PageCount count;
  SpanState state;
  SizeClass size_class;  // of kObjects
  bool released;         // of kFree: no memory stands behind it
  bool zero;             // every byte reads as zero
  uint16_t free_objects;   // of kObjects: bits set in free_bits()
  uint16_t search_from;    // of kObjects: no free bit lies before this one
  uint16_t refused_in;     // of kFree: the round in which the kernel would not take it back
  bool in_tract;           // of kFree: kept for spans of one kind (page_heap.cc), merged with nothing
  uint8_t shard;           // of kObjects: see central.h
  bool at_hand;            // of kLarge: free, in a thread's cache, see large_cache.h; changed by atomic operations
  // Of kCollected, see gc/span_set.h.
  bool noscan;             // its objects hold no pointers
  bool born_black;         // made while marking was on: its marks say nothing of what is reachable
  uint8_t list;            // the list of its set that it is in
  uint16_t specials;       // finalizers and weak references that its objects have
  uint16_t sampled;        // objects that the heap profile has, see gc/sampled_objects.h; changed by atomic operations
  uint32_t generation;     // the cycle whose marks have become its allocated bits
  uint32_t since;          // page_heap::stamp, when it was handed out last
  PageCount warm_head;     // of a run just handed out that is not `zero`: all behind so many pages is; 0: of one that was warm
  uint64_t few_bits;       // of kObjects: which objects the central holds, where there are at most kFewObjects

  PageId end() const { return first + count; }
  PageId last() const { return PageId{first.value + count.value - 1}; }
  uintptr_t start() const { return arena.address(first); }
  size_t bytes() const { return count.bytes(); }
  size_t dirty_bytes() const { return zero ? 0 : warm_head.value != 0 ? warm_head.bytes() : bytes(); }  // of a run just handed out
  bool covers(PageId page) const { return page >= first && page < end(); }
  // Of kObjects. An OS page of the arena's is touched for every 512 KiB of spans.
  uint64_t *free_bits() {
    const size_t objects = info(size_class).objects;
    return objects <= kFewObjects ? &few_bits : arena.free_bits(first, objects);
  }
  uint32_t index_of(uintptr_t object) const { return object_index(size_class, object - start()); }
};

static_assert(sizeof(Span) <= 64, "a span is one cache line");

}  // namespace warren
