// Runs of pages: allocate, free, resize, give back to the kernel. Mechanism only.
// Callers: central (spans of objects), large, the scavenger, stats, malloc_trim.
// Invariant: every grown page but page 0 belongs to exactly one span; two neighbouring free spans
// differ in `released`, since equal ones are merged, or one of them is what is left of a tract (page_heap.cc).
#pragma once

#include "allocator/base/mutex.h"
#include "allocator/span.h"

#include <atomic>

namespace warren::page_heap {

extern Mutex lock;

// What spans are marked with when they are handed out (Span::since). Who watches allocations sets it to the time now and then, in
// units of its own; 0: nobody does. relaxed: nothing hangs on it but answers.
extern std::atomic<uint32_t> stamp;

// The last time that the arena was to grow, and not by more than a program may ask for in vain, it did not: there may be no memory but
// what is free. relaxed: who sees it late asks in vain once more, or is content with what it has.
extern std::atomic<bool> growth_refused;

// A span of at least `pages` in the state kObjects, kLarge or kCollected; nullptr when there is no memory. Warm runs are
// preferred to released and new ones, and among runs the tightest fit; spans of small objects come from tracts where the heap grows.
// Warm runs that are too short are used with free ones beside them. Span::zero tells what the pages contain. `moved_in`: the pages whose
// memory move() is to bring along, if the span has none.
Span *allocate(PageCount pages, SpanState state, SizeClass size_class, PageCount moved_in = PageCount{0}) EXCLUDES(lock);

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

// Gives back one warm run of up to `most` pages, without the lock while the kernel works. Returns what went;
// 0 when nothing is warm, or the kernel refuses (locked pages); what it refuses is passed over until the next look. One caller at a time.
PageCount scavenge(PageCount most) EXCLUDES(lock);

// What the scavenger looks at. Starts a new look.
struct WarmMemory {
  uint64_t pages;             // warm and free now
  uint64_t least_pages;       // the fewest since the last look
  uint64_t used_pages;        // in spans that are in use
  uint64_t pages_over_limit;  // that memlimit would like to see go
};
WarmMemory take_warm_memory() EXCLUDES(lock);

// When much is warm, scavenger::wake() is called, once. These ask for it again: at the usual mark; when not more is
// warm than kept_pages and used / kept_part (else they do nothing and return false); only at twice
// of what is warm now.
void arm() EXCLUDES(lock);
bool arm_when_little_is_warm(uint64_t kept_pages, uint64_t kept_part) EXCLUDES(lock);
void arm_later() EXCLUDES(lock);

// Calls each function once, when so many pages are in use: first the one for fewer, then the other. With the lock held, so they may
// do next to nothing. kNoLimit: never.
struct UseMark {
  uint64_t pages;
  void (*reached)();
};
void call_when_used(UseMark first, UseMark second) EXCLUDES(lock);

// Bytes of the spans in use, a moment old. Needs no lock.
size_t used_bytes();

// In a forked child: takes back what the scavenger and other threads, which did not come along, were giving back.
void reset_in_child() EXCLUDES(lock);

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
  uint64_t scavenged_pages;  // given back to the kernel while the program ran, other than by release_all()
};
Stats stats() EXCLUDES(lock);

}  // namespace warren::page_heap
