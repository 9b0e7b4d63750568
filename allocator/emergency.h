// A small pool for calls that must not touch the heap: malloc in a signal handler that interrupted this
// very thread inside a slow path, or inside fork. Such calls are the program's error, but common in crash handlers,
// and a deadlock there hides the crash.
// Callers: heap_slow.cc. Async-signal-safe. Invariant: when no block of the pool is live, all of it is free.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::emergency {

void *allocate(size_t size, size_t align);  // nullptr when the pool is used up
void free(void *block);
bool contains(uintptr_t address);
size_t size_of(const void *block);

// A free that came in such a handler: the block waits here until somebody is in the heap with clean hands.
void defer_free(void *block);

struct Deferred {
  Deferred *next;
};
bool has_deferred();
Deferred *take_deferred();

}  // namespace warren::emergency
