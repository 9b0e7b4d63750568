// The address space of the heap: metadata | page map | free bits | bitmap | object map | class hints | arena.
//
//     metadata     spans, thread caches: what the heap itself needs            metadata.h
//     page map     one Span* for each page of the arena
//     free bits    kFreeBitsBytesPerPage for each page: which objects of a span its central holds, where they are more than kFewObjects
//     bitmap       kBitmapBytesPerPage for each page: the same of tiny objects, and what the collector knows of its own
//     fine plane   one byte for each 8 bytes of the arena, } the object map: object_map.h
//                  in an order of its own                  }
//     coarse plane one byte for each 128 bytes             }
//     class hints  one byte for each page: the class of its objects, as free() expects it before it knows (heap.h, release)
//     tags         two bytes for each page, of what the collector has there (gc/page_tags.h): mapped only once it is used
//     arena        pages, handed out by the page heap
//
// Every part is a linear image of the arena, so all lookups are one shift and one add; of the fine plane that is so region by region,
// and one rotation finds the place. The range is claimed, not mapped: nothing is reserved from the kernel, and each step of growth maps
// its slice of every part where it belongs. That keeps the process's address space as small as its heap, so that RLIMIT_AS, set before
// or while the process runs, means what it says, and mlockall locks only what exists. The claim lies where the kernel places nothing by
// itself; a foreign mapping found there makes a hole. Where such addresses do not exist, a PROT_NONE reservation is halved until it fits.
//
// Callers: the fast path reads it, page_heap grows it under its lock.
// Invariant: for every address below start + grown_bytes(), all parts but the tags are mapped.
#pragma once

#include "allocator/base/address.h"
#include "allocator/base/units.h"

namespace warren {

struct Span;

// What the object map says of octet 0 of the arena, which is never handed out: not free. Every
// cache's bins end in that address, see cache.h.
inline constexpr uint8_t kSentinelMark = 68;

// The one Arena is hot.arena, or `arena` for short: hot.h.
struct Arena {
  constexpr explicit Arena(uint8_t *not_free) : fine_from_zero(not_free), coarse_from_zero(not_free) {}

  // Set once by set_up(), before any block exists; then read-only.
  uintptr_t start = 0;
  uint8_t *fine = nullptr;
  // The planes as seen from address zero: addresses divided by 8 and by 128 lead to a block's byte. Before
  // set_up they point at a byte that says "not free", which sends the first malloc to the slow path.
  uint8_t *fine_from_zero;
  uint8_t *coarse_from_zero;
  uint8_t *coarse = nullptr;
  uint8_t *class_hints = nullptr;
  Span **page_map = nullptr;
  uint8_t *bitmap = nullptr;
  uint8_t *free_bitmap = nullptr;

  // Size of the grown part in tiny blocks. Grows under the page heap's lock (__atomic_store_n). Read without
  // it, and plainly, so that the compiler may compare with it in memory: who holds a pointer into the
  // arena got it after the growth that made it, and for any other pointer either value will do.
  size_t octet_count = 0;

  uintptr_t address(PageId page) const { return start + (size_t{page.value} << kPageShift); }
  PageId page_of(uintptr_t address) const { return PageId{static_cast<uint32_t>((address - start) >> kPageShift)}; }
  PageId end_page() const {
    return PageId{static_cast<uint32_t>(octet_count >> (kPageShift - kOctetShift))};
  }
  bool contains(uintptr_t address) const {
    return (address - start) >> kOctetShift < octet_count;
  }
  size_t grown_bytes() const { return octet_count << kOctetShift; }
  uint64_t *bits(PageId page) const {
    return at_address<uint64_t>(address_of(bitmap) + size_t{page.value} * kBitmapBytesPerPage);
  }
  // Of a span of one page that has so many objects.
  uint64_t *free_bits(PageId page, size_t objects) const {
    if (objects > kFreeBitsBytesPerPage * 8) return bits(page);
    return at_address<uint64_t>(address_of(free_bitmap) + size_t{page.value} * kFreeBitsBytesPerPage);
  }
};

namespace arena_growth {

// Claims the address space and maps its first step's planes. False: not even kMinArenaSize could be
// had, or no memory; may be called again. Caller holds the heap's init lock.
bool set_up(size_t wanted_bytes);

enum class GrowResult : uint8_t { kGrown, kNoMemory, kExhausted };

struct Grown {
  GrowResult result;
  PageId first;  // of the new pages, all prepared and zero
  PageCount count;
  PageId hole_first;  // pages skipped because somebody else is there, just before `first`
  PageCount hole_count;
};

// Adds at least `pages` at the end. `prepare_more`: what else is to be had for an arena that ends there, or it does not grow. What was
// refused leaves no address space behind but of what it would have needed beside itself. Caller holds the page heap's lock.
Grown grow(PageCount pages, bool (*prepare_more)(PageId end) = nullptr);

// Gives the memory of the bits and the object map's bytes for these pages back to the kernel: what lies in whole
// OS pages. They read as zero then. No block may live there, nor come to while this runs.
void release_maps(PageId first, PageCount count);

// The collector's tags, zero at first. Maps those of the pages below `end`, and of some more; returns how many pages now have
// theirs mapped, from page 0 on: fewer than asked when there is no memory. One caller at a time.
PageCount prepare_tags(PageId end);
uint16_t *tags();

// The part of the claim that metadata may use.
struct Range {
  uintptr_t start;
  size_t bytes;
  bool exclusive;
};
Range metadata_range();

// Mapped for page map, bits and object map together.
size_t map_bytes();

}  // namespace arena_growth
}  // namespace warren
