// What the collector remembers of each page of the OS from one cycle to the next, so that a minor cycle (generations.h) scans of the old
// objects only what may point to new ones.
//
//   protected    the kernel notes the first store to it
//   remembered   was written to, or not watched, since the last cycle: its old objects are scanned at the beginning of this one
//   touched      was written to while this cycle marked
//
// Caller: dirty_pages.cc, by the thread that runs the cycle. Invariant: a page that is not covered has no state, and is none of those
// that stay watched between cycles.
#pragma once

#include "gc/mutation.h"

#include <cstddef>
#include <cstdint>

namespace warren::gc::page_states {

using State = uint8_t;
inline constexpr State kProtected = 1, kRemembered = 2, kTouched = 4;

// Room for the collector's part of the arena; what is known of it is kept. False: no memory.
bool prepare();

void add(mutation::Range range, State state);

// From all pages.
void take_away(State state);

bool is_covered(uintptr_t page);

// Pages that have the state.
size_t count(mutation::Range range, State state);

// Visits the runs of pages with the state for which wanted(page) is true, and takes it from these.
void take_runs(State state, bool (*wanted)(uintptr_t page), mutation::Visit visit, void *context);

}  // namespace warren::gc::page_states
