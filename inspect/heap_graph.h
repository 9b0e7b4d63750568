// The live objects of a heap that stands still, numbered by address, and the way from any word to the one that it points to.
// Callers: heap_dump.cc, in a copy of the process that nobody else runs in. Takes no lock that the copy could find taken,
// and its memory straight from the kernel.
// Invariant: an object has a number when, and only when, the program may use it: neither free, nor in a cache, nor in a run.
#pragma once

#include "allocator/base/bitmap.h"
#include "gc/cache.h"
#include "gc/paged_array.h"
#include "inspect/heap_dump_format.h"

namespace warren::inspect {

class HeapGraph {
 public:
  // Reads the heap, at this time of heap_profile::now(). False: no memory.
  bool build(uint64_t time);

  uint32_t object_count() const { return object_count_; }
  const gc::PagedArray<SpanItem> &spans() const { return spans_; }

  // The object that `word` points to or into.
  bool find(uintptr_t word, uint32_t *number) const {
    const uintptr_t offset = word - arena_start_;
    if (offset >= arena_bytes_) return false;
    const uint32_t owner = owners_[offset >> kPageShift];
    if (owner == 0) return false;
    const View &view = views_[owner - 1];
    const uint64_t index = (word - view.start) * view.reciprocal >> 32;
    const LiveWord &live = live_[view.first_word + index / 64];
    const uint64_t bit = uint64_t{1} << (index % 64);
    if ((live.bits & bit) == 0) return false;
    *number = live.before + bits::count(live.bits & (bit - 1));
    return true;
  }

  struct Object {
    uintptr_t address;
    size_t bytes;
    ObjectKind kind;
  };

  // All objects in the order of their numbers.
  template <class Visit>
  void for_each(Visit visit) const {
    for (const View &view : views_) {
      for (size_t word = 0; word < view.words; ++word) {
        for (uint64_t bits = live_[view.first_word + word].bits; bits != 0; bits &= bits - 1) {
          const size_t index = word * 64 + static_cast<size_t>(__builtin_ctzll(bits));
          visit(Object{view.start + index * view.object_bytes, view.object_bytes, view.kind});
        }
      }
    }
  }

 private:
  // A span with objects.
  struct View {
    uintptr_t start;
    size_t object_bytes;
    size_t first_word;
    uint32_t reciprocal;  // 0 for the one object of a large span
    uint32_t words;
    ObjectKind kind;
  };
  struct LiveWord {
    uint64_t bits;
    uint32_t before;  // objects with lower numbers than the first of these
  };

  bool add_span(const Span *span, uint64_t time);
  bool add_view(const Span *span, ObjectKind kind);
  void drop(const gc::Run &run);

  uintptr_t arena_start_ = 0;
  size_t arena_bytes_ = 0;
  uint32_t object_count_ = 0;
  gc::PagedArray<uint32_t> owners_;  // by page: number of its view and 1, or 0
  gc::PagedArray<View> views_;
  gc::PagedArray<LiveWord> live_;
  gc::PagedArray<SpanItem> spans_;
  gc::PagedArray<uint32_t> span_of_view_;
};

}  // namespace warren::inspect
