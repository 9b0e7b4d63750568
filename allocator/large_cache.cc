// See large_cache.h.
#include "allocator/large_cache.h"

#include "allocator/base/address.h"
#include "allocator/cache.h"
#include "allocator/object_map.h"
#include "allocator/page_heap.h"
#include "allocator/page_map.h"

#include <algorithm>
#include <cstring>

namespace warren {
namespace {

// Room for large blocks: this part of what a thread's cache may hold beside them, but in a small heap no more than this part of what is
// in use, or kOfSmallHeaps. Half of it, 1 MiB in small heaps: 18 rows of bench/ peak 1.5% higher, and one of them is 6% faster.
constexpr uint64_t kPartOfShare = 4, kPartOfUse = 16, kOfSmallHeaps = uint64_t{256} << 10;

uint64_t most_room() {
  const uint64_t by_use = std::max<uint64_t>(page_heap::used_bytes() / kPartOfUse, kOfSmallHeaps);
  return std::min<uint64_t>(Cache::share() / kPartOfShare, by_use);
}

// relaxed: statistics, but for frees: whoever has seen a free sees the block's malloc, so that no difference is below zero (pairs with the
// acquire in large::stats()).
template <int kOrder = __ATOMIC_RELAXED>
void add(uint64_t &figure, uint64_t what) {
  __atomic_store_n(&figure, figure + what, kOrder);
}

// relaxed: for the collector, which reads no block that is at hand when it looks; none has anything that it would need.
void set_at_hand(Span *span, bool at_hand) { __atomic_store_n(&span->at_hand, at_hand, __ATOMIC_RELAXED); }

}  // namespace

Span *LargeCache::take(PageCount pages) {
  if (pages > kMostPages) return nullptr;
  for (uint32_t at = count_; at-- > 0;) {
    if (pages_[at] != pages.value) continue;
    Span *span = spans_[at];
    set_at_hand(span, false);
    --count_;
    memmove(&spans_[at], &spans_[at + 1], (count_ - at) * sizeof spans_[0]);
    memmove(&pages_[at], &pages_[at + 1], (count_ - at) * sizeof pages_[0]);
    add(figures_.held_bytes, -pages.bytes());
    add(figures_.total_bytes, pages.bytes());
    add(figures_.mallocs, 1);
    return span;
  }
  const uint64_t bit = uint64_t{1} << pages.value;
  if ((missing_ & bit) != 0) {
    missing_ &= ~bit;
    room_ = std::min(room_ + pages.bytes(), most_room());
  }
  return nullptr;
}

void LargeCache::put(Span *span) {
  add<__ATOMIC_RELEASE>(figures_.frees, 1);
  if (span->count > kMostPages) return page_heap::free(span);
  if (span->bytes() > room_) {
    missing_ |= uint64_t{1} << span->count.value;
    return page_heap::free(span);
  }
  while (count_ == kSpans || figures_.held_bytes + span->bytes() > room_) give_back_oldest();
  set_at_hand(span, true);
  spans_[count_] = span;
  pages_[count_] = static_cast<uint16_t>(span->count.value);
  ++count_;
  add(figures_.held_bytes, span->bytes());
}

void LargeCache::give_back_oldest() {
  Span *span = spans_[0];
  missing_ |= uint64_t{1} << pages_[0];
  --count_;
  memmove(&spans_[0], &spans_[1], count_ * sizeof spans_[0]);
  memmove(&pages_[0], &pages_[1], count_ * sizeof pages_[0]);
  add(figures_.held_bytes, -span->bytes());
  set_at_hand(span, false);
  page_heap::free(span);
}

bool LargeCache::flush() {
  const bool any = count_ != 0;
  while (count_ != 0) give_back_oldest();
  room_ = missing_ = 0;
  return any;
}

// No span is made meanwhile: one that went a moment ago is free, or its structure is no page's.
void LargeCache::adopt() {
  const uint32_t count = std::min(count_, kSpans);
  count_ = 0;
  add(figures_.held_bytes, -figures_.held_bytes);
  for (uint32_t at = 0; at < count; ++at) {
    Span *span = spans_[at];
    if (span == nullptr || span->state != SpanState::kLarge || span->count.value == 0 || page_map::at(span->first) != span) continue;
    set_at_hand(span, false);
    if (*object_map::coarse(span->start()) == 0) page_heap::free(span);
  }
}

}  // namespace warren
