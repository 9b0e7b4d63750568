// The collector's C ABI. Validates, forwards, sets errno; see warren/gc.h for what each function promises.
#include "warren/gc.h"

#include "allocator/base/fatal.h"
#include "gc/cycle.h"
#include "gc/heap.h"
#include "gc/pacing.h"
#include "gc/roots.h"
#include "gc/specials.h"
#include "inspect/reclaim.h"
#include "preload/entry_points.h"
#include "preload/start.h"

#include <cerrno>

using warren::gc::Kind;
using warren::gc::Slot;
namespace gc = warren::gc;

namespace {

void *or_enomem(void *object) {
  if (WARREN_UNLIKELY(object == nullptr)) errno = ENOMEM;
  return object;
}

WARREN_NOINLINE void *allocate_slow(size_t size, Kind kind) { return or_enomem(gc::heap::allocate_slow(size, kind)); }

// The slot of a live object.
bool find_object(const void *pointer, Slot &slot) {
  const void *base = gc::heap::base_of(pointer);
  return base != nullptr && gc::find_slot(warren::address_of(base), slot);
}

}  // namespace

extern "C" {

WARREN_EXPORT void *wr_gc_malloc(size_t size) { return gc::heap::allocate<allocate_slow>(size, Kind::kScan); }

WARREN_EXPORT void *wr_gc_malloc_noscan(size_t size) {
  return size < 16 ? or_enomem(gc::heap::allocate_tiny(size)) : gc::heap::allocate<allocate_slow>(size, Kind::kNoscan);
}

WARREN_EXPORT void *wr_gc_malloc_aligned(size_t alignment, size_t size, int noscan) {
  if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > warren::kPageSize) {
    errno = EINVAL;
    return nullptr;
  }
  return or_enomem(gc::heap::allocate_aligned(size, alignment, noscan != 0 ? Kind::kNoscan : Kind::kScan));
}

WARREN_EXPORT void *wr_gc_realloc(void *object, size_t size) {
  if (object == nullptr) return wr_gc_malloc(size);
  if (size == 0) {
    wr_gc_free(object);
    return nullptr;
  }
  return or_enomem(gc::heap::reallocate(object, size));
}

WARREN_EXPORT void wr_gc_free(void *object) {
  if (object != nullptr) gc::heap::release(object);
}

WARREN_EXPORT int wr_gc_set_finalizer(void *object, void (*fn)(void *object, void *argument), void *argument) {
  Slot slot;
  if (!find_object(object, slot)) return EINVAL;
  // In a block that small ones share each has its own.
  if ((slot.tag & gc::kNoscanTag) != 0 && gc::object_size(slot) == 16) slot.object = warren::address_of(object);
  if (slot.object != warren::address_of(object)) return EINVAL;
  const int error = gc::specials::set_finalizer(slot, fn, argument);
  gc::keep_alive(object);
  gc::keep_alive(argument);
  return error;
}

WARREN_EXPORT wr_weak wr_weak_make(void *object) {
  Slot slot;
  const wr_weak reference{find_object(object, slot) ? gc::specials::make_weak(slot) : 0};
  gc::keep_alive(object);
  return reference;
}

WARREN_EXPORT void *wr_weak_get(wr_weak reference) {
  return reference.value == 0 ? nullptr : warren::at_address<void>(gc::specials::get_weak(reference.value));
}

WARREN_EXPORT void wr_gc_add_root(const void *lo, const void *hi) {
  if (!gc::cycle::is_set_up() && !gc::cycle::set_up()) return;
  gc::roots::add(lo, hi);
}

WARREN_EXPORT void wr_gc_remove_root(const void *lo, const void *hi) {
  if (gc::cycle::is_set_up()) gc::roots::remove(lo, hi);
}

WARREN_EXPORT void wr_gc_collect(void) {
  gc::cycle::collect();
  warren::inspect::reclaim::collect();
}
WARREN_EXPORT int wr_gc_set_percent(int percent) {
  const int before = gc::pacing::set_percent(percent);
  warren::inspect::reclaim::follow_percent();
  return before;
}
WARREN_EXPORT int64_t wr_gc_set_memory_limit(int64_t limit) { return gc::pacing::set_memory_limit(limit); }
WARREN_EXPORT int wr_gc_is_object(const void *p) { return gc::heap::base_of(p) != nullptr; }
WARREN_EXPORT size_t wr_gc_size(const void *p) { return gc::heap::size_of(p); }
WARREN_EXPORT void *wr_gc_base(const void *p) { return gc::heap::base_of(p); }

}  // extern "C"
