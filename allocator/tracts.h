// Tracts. Where the heap grows, spans of small objects are cut from stretches of kTractPages: one for classes that use one row of the
// object map, one for the others; larger blocks are put beside them. An OS page of a row serves as many pages of the arena, and is touched
// for the first object there. (Without: most of what the rows save is lost, of perl's words 1.1 of 80 MB.)
//
// But what lies free without memory between what is used comes first where it is more than a little, or small spans would eat the long
// runs that large blocks need. (With no such bound a program of 20 MB, whose small blocks came in bursts of which a tenth stayed, spread
// over 270 MB of addresses, and out of an arena of 64 MiB.)
//
// Caller: page_heap.cc, which has what is left of each. Invariant: a tract is of untouched pages, and merged with nothing.
#pragma once

#include "allocator/base/address.h"
#include "allocator/object_map.h"
#include "allocator/span.h"

namespace warren::page_heap {

enum Tract : unsigned { kOneRow, kMoreRows, kTracts, kNoTract = kTracts };
inline constexpr uint32_t kTractPages = kRegionPages * kOsPageSize / kRowBytes;

inline constexpr uint32_t kLoosePages = 64, kLoosePart = 32;  // a little: so many, and this part of what is in use

// Pages in use before there are tracts. Less: small processes have more of the map. Twice as many: espresso and alloc_test have.
inline constexpr uint32_t kTractsFrom = 32;

inline Tract tract_for(SpanState state, SizeClass size_class) {
  if (state != SpanState::kObjects || size_class.value > kLastSmallClass) return kNoTract;
  return object_map::uses_one_row(info(size_class).object_size) ? kOneRow : kMoreRows;
}

// The first page of a tract that is not before this one.
inline PageId tract_boundary(PageId page) { return PageId{static_cast<uint32_t>(align_up(page.value, kTractPages))}; }

}  // namespace warren::page_heap
