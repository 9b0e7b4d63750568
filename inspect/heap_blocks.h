// Live blocks of malloc's in a copy of the process (snapshot.h): all of them, and the one that any word points into.
// Callers: reach.cc, leak_groups.cc. Invariant: nobody allocates or frees meanwhile, so no lock is taken; index() comes
// first.
#pragma once

#include "allocator/object_map.h"
#include "allocator/page_map.h"

namespace warren::inspect::heap_blocks {

struct HeapBlock {
  uintptr_t start;
  size_t bytes;
};

// Calls visit(span) for each span, in the order of addresses.
template <class Visit>
void for_each_span(Visit visit) {
  for (PageId page{1}; page < arena.end_page();) {
    Span *span = page_map::at(page);
    if (span == nullptr || span->first != page || span->count.value == 0) {
      page = page + PageCount{1};
      continue;
    }
    page = span->end();
    visit(span);
  }
}

// Makes the page map right for every page, where the heap does without.
inline void index() {
  for_each_span([](Span *span) { page_map::set_all(span); });
}

// Calls visit(HeapBlock) for each live block, in the order of addresses.
template <class Visit>
void for_each(Visit visit) {
  for_each_span([&](const Span *span) {
    if (span->state == SpanState::kLarge) {
      if (*object_map::coarse(span->start()) != 0) visit(HeapBlock{span->start(), span->bytes()});
    } else if (span->state == SpanState::kObjects) {
      const SizeClassInfo &shape = info(span->size_class);
      for (size_t i = 0; i < shape.objects; ++i) {
        const uintptr_t start = span->start() + i * shape.object_size;
        if (*object_map::of_class(span->size_class, start) != 0) visit(HeapBlock{start, shape.object_size});
      }
    }
  });
}

inline bool find(uintptr_t word, HeapBlock &block) {
  if (!arena.contains(word)) return false;
  const Span *span = page_map::at(arena.page_of(word));
  if (span == nullptr) return false;
  if (__builtin_expect(span->state == SpanState::kObjects, 1)) {
    const SizeClassInfo &shape = info(span->size_class);
    const uint32_t index = object_index(span->size_class, word - span->start());
    if (index >= shape.objects) return false;  // in the tail behind the last object
    block = {span->start() + index * shape.object_size, shape.object_size};
    return *object_map::of_class(span->size_class, block.start) != 0;
  }
  if (span->state != SpanState::kLarge) return false;
  block = {span->start(), span->bytes()};
  return *object_map::coarse(block.start) != 0;
}

}  // namespace warren::inspect::heap_blocks
