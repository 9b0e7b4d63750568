// gc_poison=1: the collector's free objects are full of one byte, so that who uses one that has died reads what no pointer is, and
// who writes to one is found out when it is handed out again.
// Callers: span_set.cc (new spans, sweeping), heap.cc (explicit frees), cache.cc (a run is taken). Large objects are only filled:
// their pages leave the collector.
// Invariant: with the option, every object in a small span whose allocated bit is 0 is full of kByte.
#pragma once

#include "allocator/base/options.h"
#include "gc/page_tags.h"

namespace warren::gc::poison {

inline constexpr unsigned char kByte = 0xdb;  // eight of them are no address

inline bool is_on() { return options.gc_poison.load(std::memory_order_relaxed) != 0; }

void fill(uintptr_t start, size_t bytes);

// Those objects of an unswept span that have died.
void fill_dead(const Span *span);

// Free objects side by side that are about to be handed out.
void check(uintptr_t first, size_t size, size_t count);

}  // namespace warren::gc::poison
