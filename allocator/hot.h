// Everything that the fast paths of malloc and free touch beside the thread's own cache, in one object, so
// that one address in a register reaches all of it.
// Callers: heap.h; through the name `arena`, everybody. Invariant: after set-up only the arena's octet_count
// changes, and it grows.
#pragma once

#include "allocator/arena.h"
#include "allocator/cache.h"

namespace warren {

struct alignas(64) Hot {
  // What a thread without a cache uses: its bins are empty and full at once, so every pop and push misses.
  // First, so that a thread's distance can be added to this object's address.
  CacheHead empty;
  Arena arena;
  // The one slot below the empty head's bins. Address 0 until the arena exists; the planes "as seen from
  // address zero" then say "not free" of it.
  void *empty_bin[1];
};

extern Hot hot;
inline constexpr Arena &arena = hot.arena;

}  // namespace warren
