// Where the C++ face keeps values that wait inside the runtime (closures of timers and large ones of fibers, values of contexts,
// large elements of channels): in memory that the collector reads, so that what they point to lives. Included by the other parts of warren/scheduler.h.
// Invariant: a box is deleted as what it was made.
#ifndef WARREN_ROOTED_CXX_H
#define WARREN_ROOTED_CXX_H

#include <warren/gc.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace warren::detail {

// For classes whose objects are made by new: derive from it.
struct rooted {
  static void *operator new(size_t bytes) {
    void *memory = wr_gc_malloc_rooted(bytes);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
  }
  static void operator delete(void *memory) { wr_gc_free_rooted(memory); }

  // For members of the program's that ask for more than 16: the address that is to be freed lies before the object.
  static void *operator new(size_t bytes, std::align_val_t asked) {
    const size_t alignment = static_cast<size_t>(asked);
    if (bytes > SIZE_MAX - alignment) throw std::bad_alloc();
    void *memory = operator new(bytes + alignment);
    const size_t room = alignment - reinterpret_cast<uintptr_t>(memory) % alignment;  // at least 16
    void *object = static_cast<char *>(memory) + room;
    static_cast<void **>(object)[-1] = memory;
    return object;
  }
  static void operator delete(void *object, std::align_val_t) { operator delete(static_cast<void **>(object)[-1]); }
};

template <class F>
struct rooted_closure : rooted {
  template <class From>
  explicit rooted_closure(From &&f) : call(std::forward<From>(f)) {}
  F call;
};

}  // namespace warren::detail

#endif
