// Where the C++ face keeps values that wait inside the runtime (closures of timers, values of contexts): in memory that the
// collector reads, so that what they point to lives. Included by the other parts of warren/scheduler.h.
// Invariant: a box is deleted as what it was made.
#ifndef WARREN_ROOTED_CXX_H
#define WARREN_ROOTED_CXX_H

#include <warren/gc.h>

#include <cstddef>
#include <new>
#include <utility>

namespace warren::detail {

// For classes whose objects are made by new: derive from it. Memory is aligned to 16 and no further, which those check whose
// members come from the program: this new is chosen for all alignments.
struct rooted {
  static void *operator new(size_t bytes) {
    void *memory = wr_gc_malloc_rooted(bytes);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
  }
  static void operator delete(void *memory) { wr_gc_free_rooted(memory); }
};

template <class F>
struct rooted_closure : rooted {
  static_assert(alignof(F) <= 16, "a function that is kept may be aligned to 16 at most");
  explicit rooted_closure(F &&f) : call(std::move(f)) {}
  F call;
};

}  // namespace warren::detail

#endif
