// See misuse.h. Only the report itself is slow: the checks that lead here are the object map's.
#include "allocator/misuse.h"

#include "allocator/base/address.h"
#include "allocator/base/annotations.h"
#include "allocator/base/fatal.h"
#include "allocator/object_map.h"
#include "allocator/page_heap.h"

namespace warren::misuse {
namespace {

void report_in_objects(const char *function, const void *pointer, const page_heap::PageState &page) {
  const SizeClassInfo &shape = info(page.size_class);
  const size_t offset = address_of(pointer) - page.span_start;
  const size_t index = offset / shape.object_size;
  const size_t inside = offset % shape.object_size;
  if (index >= shape.objects) return fatal::misaligned_pointer(function, pointer);
  if (inside != 0) return fatal::interior_pointer(function, pointer, inside, shape.object_size);
  fatal::double_free_block(function, pointer, shape.object_size);
}

}  // namespace

WARREN_COLD void report(const char *function, const void *pointer) {
  const uintptr_t address = address_of(pointer);
  if (!arena.contains(address)) return fatal::foreign_pointer(function, pointer);
  if (page_heap::lock.held_by_me()) return fatal::misaligned_pointer(function, pointer);  // in a signal handler
  const page_heap::PageState page = page_heap::describe(arena.page_of(address));
  if (!page.known) return fatal::unused_pages(function, pointer);
  switch (page.state) {
    case SpanState::kObjects: return report_in_objects(function, pointer, page);
    case SpanState::kFree:
    case SpanState::kReleasing: return fatal::double_free_pages(function, pointer);
    case SpanState::kCollected: return fatal::collected_object(function, pointer);
    case SpanState::kHole: return fatal::foreign_pointer(function, pointer);
    case SpanState::kLarge: break;
  }
  // Free, and in a thread's cache; or it was when this free looked, and is handed out again.
  if (address == page.span_start || *object_map::coarse(page.span_start) == 0) return fatal::double_free_pages(function, pointer);
  fatal::interior_pointer(function, pointer, address - page.span_start, page.span_bytes);
}

}  // namespace warren::misuse
