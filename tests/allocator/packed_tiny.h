// Tiny blocks as they are where there are many of them: packed by two (Cache::pack_tiny_if_many).
// Run by tests of what such blocks are. Invariant: for the calling thread, and for those that begin later.
#pragma once

#include "allocator/heap.h"

namespace warren {

inline void pack_tiny_blocks() {
  hot.empty.packs_tiny = current_cache()->packs_tiny = true;
  for (size_t size = 0; size <= kTinySize; ++size) hot.empty.class_of[size] = current_cache()->class_of[size] = kTinyClass;
}

}  // namespace warren
