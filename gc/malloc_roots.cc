// See malloc_roots.h. Walks the spans from page to page; each step looks at one under the page heap's lock, for a moment.
#include "gc/malloc_roots.h"

#include "allocator/base/options.h"
#include "allocator/object_map.h"
#include "allocator/page_heap.h"

namespace warren::gc::malloc_roots {
namespace {

struct Found {
  SpanState state;
  SizeClass size_class;
  PageId first;
  PageCount count;
  bool at_hand;
};

bool look(PageId page, Found &found) {
  MutexLock guard(page_heap::lock);
  if (page >= arena.end_page()) return false;
  const Span *span = page_map::find(page);
  if (span == nullptr) return false;
  // relaxed: what the thread does with the block it takes, it does later.
  found = {span->state, span->size_class, span->first, span->count, __atomic_load_n(&span->at_hand, __ATOMIC_RELAXED)};
  return true;
}

void visit_objects(const Found &found, VisitRange visit, void *context) {
  const SizeClassInfo &shape = info(found.size_class);
  const uintptr_t start = arena.address(found.first);
  for (size_t i = 0; i < shape.objects; ++i) {
    const uintptr_t block = start + i * shape.object_size;
    if (*object_map::of_class(found.size_class, block) != 0) visit(block, block + shape.object_size, context);
  }
}

}  // namespace

void for_each_range(VisitRange visit, void *context) {
  if (options.malloc_roots.load(std::memory_order_relaxed) == 0) return;
  Found found;
  for (PageId page{1}; look(page, found); page = found.first + found.count) {
    if (found.state == SpanState::kObjects) visit_objects(found, visit, context);
    // Whether it is marked says nothing: realloc takes the mark away before it moves a block.
    if (found.state == SpanState::kLarge && !found.at_hand) {
      visit(arena.address(found.first), arena.address(found.first + found.count), context);
    }
  }
}

void scan(Marker &marker) {
  for_each_range([](uintptr_t low, uintptr_t high, void *to) { static_cast<Marker *>(to)->scan_range(low, high); }, &marker);
}

}  // namespace warren::gc::malloc_roots
