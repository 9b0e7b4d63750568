// Runs of pages: allocate, free, resize, give back to the kernel. Mechanism only.
// Callers: central (spans of objects), large, stats, malloc_trim.
// Invariant: every grown page but page 0 belongs to exactly one span; two neighbouring free spans
// differ in `released`, since equal ones are merged.
#pragma once

#include "allocator/base/mutex.h"
#include "allocator/span.h"

namespace warren::page_heap {

extern Mutex lock;

// A span of at least `pages` in the state kObjects or kLarge; nullptr when there is no memory. Warm runs are
// preferred to released and new ones, and among runs the tightest fit. Span::zero tells what the
// pages contain.
Span *allocate(PageCount pages, SpanState state, SizeClass size_class) EXCLUDES(lock);

// A kLarge span whose start is a multiple of `align` bytes, a power of two above kPageSize.
Span *allocate_aligned(PageCount pages, size_t align) EXCLUDES(lock);

void free(Span *span) EXCLUDES(lock);

// Makes a kLarge span `pages` long without moving it. False: no room behind it.
bool resize(Span *span, PageCount pages) EXCLUDES(lock);

// Moves the memory behind the first `pages` of `from` to `to`, and frees `from`. False: nothing moved,
// both spans are as before (`to` may have been lost: it is then no longer the caller's).
enum class MoveResult : uint8_t { kMoved, kNotMoved, kDestinationLost };
MoveResult move(Span *from, Span *to, PageCount pages) EXCLUDES(lock);

// Gives every warm free run back to the kernel; returns the bytes that went.
size_t release_all() EXCLUDES(lock);

// What is known of a page that holds no block: for reports of misuse.
struct PageState {
  bool known;  // the page belongs to a span
  SpanState state;
  SizeClass size_class;
  uintptr_t span_start;
  size_t span_bytes;
};
PageState describe(PageId page) EXCLUDES(lock);

struct Stats {
  uint64_t grown_pages;     // of the arena, without holes
  uint64_t free_pages;      // warm and released
  uint64_t released_pages;  // free, and no memory behind them
  uint64_t large_pages;
  uint64_t spans;           // Span structures in use
};
Stats stats() EXCLUDES(lock);

}  // namespace warren::page_heap
