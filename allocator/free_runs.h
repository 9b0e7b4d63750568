// Runs of free pages in lists by their length, from which the tightest that fits is found. page_heap.cc has two: of warm runs, and of
// those without memory. Invariant: a run is in the list of its length, and a list's bit says whether there is any.
#pragma once

#include "allocator/base/bitmap.h"
#include "allocator/base/intrusive_list.h"
#include "allocator/span.h"

#include <cstddef>
#include <cstdint>

namespace warren::page_heap {

class FreeRuns {
 public:
  void insert(Span *span) {
    const uint32_t list = list_for(span->count);
    lists_[list].push_front(span);
    bits::set(nonempty_, list);
    pages_ += span->count.value;
  }

  void remove(Span *span) {
    const uint32_t list = list_for(span->count);
    lists_[list].remove(span);
    if (lists_[list].empty()) bits::clear(nonempty_, list);
    pages_ -= span->count.value;
  }

  // The tightest run of at least `pages` within the search limit, the first of such in the arena, in no tract; still in its list.
  Span *find(PageCount pages) const {
    for (uint32_t list = first_list(list_for(pages)); list < kLists;
         list = first_list(list + 1)) {
      Span *best = nullptr;
      int rest = list < kExact ? kExactSearchLimit : kSearchLimit;
      for (Span *span = lists_[list].front(); span != nullptr && rest != 0; span = span->next) {
        if (span->in_tract) continue;
        --rest;
        if (span->count >= pages && (best == nullptr || is_better(span, best))) best = span;
      }
      if (best != nullptr) return best;
    }
    return nullptr;
  }

  // A run of the longest that there are, but for those that the kernel has refused to take back in this round.
  Span *longest_releasable(uint16_t round) const {
    for (uint32_t list = kLists; list-- > 0;) {
      for (Span *span = lists_[list].front(); span != nullptr; span = span->next) {
        if (span->refused_in != round) return span;
      }
    }
    return nullptr;
  }

  // Runs that are about `least` pages long or longer, the longest first; not all of them.
  class LongestFirst {
   public:
    LongestFirst(const FreeRuns &runs, PageCount least) : runs_(runs), shortest_(list_for(least)) {}

    Span *next() {
      if (rest_-- == 0) return nullptr;
      if (span_ != nullptr) span_ = span_->next;
      while (span_ == nullptr && list_ > shortest_) span_ = runs_.lists_[--list_].front();
      return span_;
    }

   private:
    const FreeRuns &runs_;
    uint32_t shortest_, list_ = kLists;
    int rest_ = kSearchLimit;
    Span *span_ = nullptr;
  };

  uint64_t pages() const { return pages_; }

  struct Layout;

 private:
  // Lists: one for each length below kExact, then kSteps for each doubling.
  static constexpr uint32_t kExact = 128;
  static constexpr unsigned kExactLog = 7;
  static constexpr unsigned kStepsLog = 3;
  static constexpr uint32_t kLists = kExact + ((32 - kExactLog) << kStepsLog);

  // How many runs of a list of mixed lengths are looked at. More: tighter fits, longer lock holds.
  static constexpr int kSearchLimit = 32;

  // The same where all have one length: of these the first in the arena is taken, so that those behind it stay free, and become one with
  // their neighbours. One, the last that was freed: realloc_vectors peaked 6% higher, aligned_blocks 2%. 32, or 1000: as 4.
  static constexpr int kExactSearchLimit = 4;

  static bool is_better(const Span *one, const Span *other) {
    return one->count != other->count ? one->count < other->count : one->first < other->first;
  }
  static uint32_t list_for(PageCount pages) {
    if (pages.value < kExact) return pages.value;
    const unsigned log = 31u - static_cast<unsigned>(__builtin_clz(pages.value));
    const uint32_t step = (pages.value >> (log - kStepsLog)) & ((1u << kStepsLog) - 1);
    return kExact + ((log - kExactLog) << kStepsLog) + step;
  }
  uint32_t first_list(uint32_t from) const { return static_cast<uint32_t>(bits::find_set(nonempty_, from, kLists)); }

  IntrusiveList<Span> lists_[kLists];
  uint64_t nonempty_[bits::words_for(kLists)] = {};
  uint64_t pages_ = 0;
};

struct FreeRuns::Layout {
  static constexpr size_t kPages = offsetof(FreeRuns, pages_);
};

}  // namespace warren::page_heap
