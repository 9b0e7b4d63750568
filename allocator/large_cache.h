// A thread's free large blocks: the spans of those it has freed last, for the next of just that length. The page heap would take a lock,
// merge the span with its neighbours and cut it off again. (Pairs of malloc and free of 64 KiB: 125 ns there and 490 for each of two
// threads at once, and 36 and 37 here.)
//
// There is no room to begin with. A length that had to go, and that the thread then asks for again, makes room for one of it, up to a
// part of what a thread's cache may hold: so what frees large blocks, and needs no more of them, keeps none.
//
// Caller: heap_slow.cc, inside the heap; Cache has one of these. Invariant: what is in it is in the state kLarge, without a mark. Only the
// owning thread touches it; other threads read the figures, and may see them a moment old.
#pragma once

#include "allocator/base/units.h"

#include <cstddef>
#include <cstdint>

namespace warren {

struct Span;

class LargeCache {
 public:
  // Longer ones cost more to touch than to get. 128 and 480 KiB: as fast in bench/.
  static constexpr PageCount kMostPages = PageCount::covering(size_t{256} << 10);

  // Spans it has at most. 4, 16, 32: as fast in bench/, but eight buffers of a thread are not rare.
  static constexpr uint32_t kSpans = 8;

  // Metadata that had another owner before is as it was left.
  void set_up() { *this = LargeCache{}; }

  // The last freed span of that length, or nullptr. It counts as allocated then.
  Span *take(PageCount pages);

  // A block is free, its mark gone. What there is no room for goes to the page heap.
  void put(Span *span);

  // Returns all to the page heap. False: there was nothing.
  bool flush();

  // In a forked child, of a thread that did not come along: as flush(), but a span may stand in two caches, or live.
  void adopt();

  struct Figures {
    uint64_t mallocs;      // that were served here
    uint64_t frees;        // that came here
    uint64_t total_bytes;  // of those mallocs
    uint64_t held_bytes;   // now
  };
  const Figures &figures() const { return figures_; }

 private:
  void give_back_oldest();

  Figures figures_{};  // first: read from outside (WARREN_SHOW_NUMBER "Cache.large")
  uint64_t room_ = 0;     // bytes
  uint64_t missing_ = 0;  // bit n: a span of n pages had to go
  uint32_t count_ = 0;
  uint16_t pages_[kSpans]{};
  Span *spans_[kSpans]{};  // the oldest first
};

static_assert(LargeCache::kMostPages.value < 64, "missing_ has bits for all");

}  // namespace warren
