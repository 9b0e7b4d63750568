// See large.h.
#include "allocator/large.h"

#include "allocator/base/address.h"
#include "allocator/base/layout.h"
#include "allocator/heap.h"
#include "allocator/object_map.h"
#include "allocator/page_heap.h"
#include "allocator/page_map.h"
#include "allocator/thread.h"

#include <atomic>
#include <cstring>

namespace warren::large {
namespace {

// From here on moving page tables to a place without memory beats copying: a system call and a flush of the TLB, some
// microseconds, against at least 64 page faults and as many copies of 4 KiB.
constexpr size_t kMinMoveSize = size_t{256} << 10;

// To a warm place it is copied instead, up to this size: a move would throw the pages there away and leave none
// behind, and each costs 2 us to touch anew against 0.4 us to copy. (Growing vectors in turn: 2.5 times as fast.) More:
// a realloc that takes ten milliseconds where a move takes one.
constexpr size_t kMaxCopySize = size_t{32} << 20;

// Statistics of what goes to the page heap and comes from it, relaxed but for frees: whoever has seen a free sees the block's malloc, so
// that no difference is below zero. (Threads' caches count for themselves.)
std::atomic<uint64_t> mallocs{0}, frees{0}, total_bytes{0};

WARREN_SHOW_ADDRESS("large.uncached_mallocs", &mallocs);
WARREN_SHOW_ADDRESS("large.uncached_frees", &frees);
WARREN_SHOW_ADDRESS("large.uncached_total_bytes", &total_bytes);

Span *span_of(const void *block) { return page_map::at(arena.page_of(address_of(block))); }

void *mark(Span *span) {
  __atomic_store_n(object_map::coarse(span->start()), object_map::kLargeMark, __ATOMIC_RELAXED);
  return at_address<void>(span->start());
}

void *publish(Span *span) {
  mallocs.fetch_add(1, std::memory_order_relaxed);
  total_bytes.fetch_add(span->bytes(), std::memory_order_relaxed);
  return mark(span);
}

// To another place: pages are moved where there are many, bytes copied where there are few.
void *relocate(void *block, Span *span, size_t size) {
  const size_t kept = size < span->bytes() ? size : span->bytes();
  const PageCount moved_in = kept >= kMinMoveSize ? PageCount::covering(kept) : PageCount{0};
  Span *target = page_heap::allocate(PageCount::covering(size), SpanState::kLarge, SizeClass{0}, moved_in);
  if (target == nullptr) return nullptr;
  const bool cold = target->dirty_bytes() < target->bytes() / 2;
  target->zero = false;
  if (kept >= (cold ? kMinMoveSize : kMaxCopySize)) {
    // The mark goes first: once moved, the old span is the page heap's.
    *object_map::coarse(span->start()) = 0;
    const auto moved = page_heap::move(span, target, PageCount::covering(kept));
    if (moved == page_heap::MoveResult::kMoved) {
      frees.fetch_add(1, std::memory_order_release);
      return publish(target);
    }
    *object_map::coarse(span->start()) = object_map::kLargeMark;
    if (moved == page_heap::MoveResult::kDestinationLost) return nullptr;
  }
  void *copy = publish(target);
  memcpy(copy, block, kept);
  *object_map::coarse(span->start()) = 0;
  large::free(block);
  return copy;
}

void add_frees(Cache &cache, void *to) {
  // acquire: pairs with the release in LargeCache::put().
  *static_cast<uint64_t *>(to) += __atomic_load_n(&cache.large.figures().frees, __ATOMIC_ACQUIRE);
}

void add_rest(Cache &cache, void *to) {
  const LargeCache::Figures &figures = cache.large.figures();
  auto *sums = static_cast<Stats *>(to);
  sums->mallocs += __atomic_load_n(&figures.mallocs, __ATOMIC_RELAXED);
  sums->total_bytes += __atomic_load_n(&figures.total_bytes, __ATOMIC_RELAXED);
  sums->held_bytes += __atomic_load_n(&figures.held_bytes, __ATOMIC_RELAXED);
}

}  // namespace

Allocated reuse(Span *span) {
  span->since = page_heap::stamp.load(std::memory_order_relaxed);
  return {mark(span), span->bytes()};
}

Allocated allocate(size_t size, size_t align) {
  const PageCount pages = PageCount::covering(size == 0 ? 1 : size);
  Span *span = align <= kPageSize ? page_heap::allocate(pages, SpanState::kLarge, SizeClass{0})
                                  : page_heap::allocate_aligned(pages, align);
  if (span == nullptr) return {nullptr, 0};
  const size_t dirty_bytes = span->dirty_bytes();
  span->zero = false;  // from now on the program writes to it
  return {publish(span), dirty_bytes};
}

void free(void *block) {
  frees.fetch_add(1, std::memory_order_release);
  page_heap::free(span_of(block));
}

size_t size_of(const void *block) { return span_of(block)->bytes(); }

void *reallocate(void *block, size_t size) {
  Span *span = span_of(block);
  const PageCount wanted = PageCount::covering(size);
  const PageCount before = span->count;
  if (wanted == before) return block;
  if (page_heap::resize(span, wanted)) {
    if (span->count > before) total_bytes.fetch_add((span->count - before).bytes(), std::memory_order_relaxed);
    return block;
  }
  return relocate(block, span, size);
}

namespace {

uint64_t all_frees(const threads::HeldCaches &caches) {
  uint64_t sum = frees.load(std::memory_order_acquire);  // pairs with the releases where it grows
  caches.visit(add_frees, &sum);
  return sum;
}

}  // namespace

Stats stats() {
  // Frees first, mallocs last. Who reads may lose the processor in between, and a hundred thousand pairs of others would seem to be live:
  // so again then.
  constexpr uint64_t kManyFrees = 1000;
  const threads::HeldCaches caches;
  for (int tries = 4;; --tries) {
    Stats sums{};
    sums.frees = all_frees(caches);
    caches.visit(add_rest, &sums);
    sums.mallocs += mallocs.load(std::memory_order_relaxed);
    sums.total_bytes += total_bytes.load(std::memory_order_relaxed);
    if (tries == 1 || all_frees(caches) - sums.frees < kManyFrees) return sums;
  }
}

void count_retired(const LargeCache::Figures &figures) {
  mallocs.fetch_add(figures.mallocs, std::memory_order_relaxed);
  total_bytes.fetch_add(figures.total_bytes, std::memory_order_relaxed);
  frees.fetch_add(figures.frees, std::memory_order_release);
}

}  // namespace warren::large
