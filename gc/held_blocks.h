// Blocks of malloc's that belong to a thread as much as its stack does, and are roots like it: C++ exceptions in flight or
// being handled, and what libc's control block of the thread points to (the argument of its start function, in which
// std::thread keeps the closure).
// Callers: stacks.cc, cycle.cc, verifier.cc, preload/fiber_roots.cc, in a stopped world.
// Invariant: any word may be asked about; nothing outside of the arena is read.
#pragma once

#include "gc/world.h"

namespace warren::gc::held_blocks {

// Blocks whose start a word in [low, high) is, but for large ones: a closure of eight bytes is one as well.
void for_each_in_control_block(uintptr_t low, uintptr_t high, VisitRange visit, void *context);

// Exceptions that words in [low, high) point to, and those that were being handled when they were thrown.
void for_each_exception(uintptr_t low, uintptr_t high, VisitRange visit, void *context);

}  // namespace warren::gc::held_blocks
