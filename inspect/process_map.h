// The mappings of this process with what is known of them, read once from /proc/self/maps. Caller: leak_roots.cc,
// leak_report.cc, in a copy of the process (snapshot.h), where nothing is mapped or unmapped meanwhile but by the
// inspection itself. Invariant: no lock is taken, nothing is allocated from the heap.
#pragma once

#include "gc/paged_array.h"
#include "inspect/maps_file.h"

#include <cstdint>

namespace warren::inspect::process_map {

// False: the list cannot be read, or no memory.
bool read();

const gc::PagedArray<Mapping> &mappings();  // in the order of addresses
const char *name_of(const Mapping &mapping);  // the file, "[heap]" and the like, or ""

// Where this very list lies.
void for_each_own_range(void (*visit)(uintptr_t low, uintptr_t high, void *context), void *context);

}  // namespace warren::inspect::process_map
