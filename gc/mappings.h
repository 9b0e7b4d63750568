// What is mapped where, asked while the world stands still.
// Callers: stacks.cc, roots.cc and inspect/, for memory of the program's that they know only by one address in it; cycle.cc, for
// copy(); threads.cc (prepare, forget).
// Invariant: between prepare() and forget() no lock is taken and nothing but the kernel is asked.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::gc::mappings {

struct Mapping {
  uintptr_t low, high;
  bool readable;
};

// Before the world is stopped, and after it was started. Without a successful prepare() nothing is ever found.
bool prepare();
void forget();

// The mapping around `address`, or the next one above it. False: there is none.
bool at_or_above(uintptr_t address, Mapping *found);

// The readable mapping that contains `address`.
bool around(uintptr_t address, Mapping *found);

// Calls visit for the parts of the range that can be read: no hole, nothing mapped without access.
void for_each_readable(uintptr_t low, uintptr_t high, void (*visit)(uintptr_t, uintptr_t, void *), void *context);

// Calls visit for the parts of the range that hold anything: pages that were touched, in memory or swapped out. Guard
// pages inside a mapping are left out. The range is readable.
void for_each_touched(uintptr_t low, uintptr_t high, void (*visit)(uintptr_t, uintptr_t, void *), void *context);

// Reads memory that may vanish meanwhile; for scans of the program's data while it runs. The bytes that could be read.
size_t copy(void *to, uintptr_t from, size_t bytes);

}  // namespace warren::gc::mappings
