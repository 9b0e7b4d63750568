// Memory for the heap's own structures, outside the arena and never given back.
// Callers: page_heap (spans), cache registry (thread caches). Invariant: freed structures are kept
// on a list of their type, so that the same memory never serves two types.
#pragma once

#include "allocator/base/mutex.h"

#include <cstddef>
#include <cstdint>

namespace warren::metadata {

extern Mutex lock;

void set_up();

// Keeps so many bytes back for Use::kReserved, whatever the kernel refuses later, instead of what was kept back before. They are
// mapped, not touched. Where the arena is so small that its range has not so many, what was kept back before still is, and nothing more.
// False: the kernel refuses now, and what was kept back before still is.
bool reserve(size_t bytes) REQUIRES(lock);

enum class Use : uint8_t { kReserved, kOther };

// `bytes` of zeroed memory, aligned to `align` (a power of two, at most kOsPageSize); nullptr when the
// kernel refuses.
void *allocate(size_t bytes, size_t align, Use use = Use::kOther) REQUIRES(lock);

uint64_t bytes_in_use();

// Objects of one type. Reused last in, first out, with whatever they contained.
template <class T, Use kUse = Use::kOther>
class FixedAllocator {
 public:
  T *allocate() EXCLUDES(lock) {
    MutexLock guard(lock);
    if (Node *node = free_; node != nullptr) {
      free_ = node->next;
      return reinterpret_cast<T *>(node);
    }
    void *fresh = metadata::allocate(sizeof(T), alignof(T), kUse);
    made_ += fresh != nullptr;
    return static_cast<T *>(fresh);
  }

  // Objects that there are, in use or free.
  size_t made() const REQUIRES(lock) { return made_; }

  void free(T *object) EXCLUDES(lock) {
    MutexLock guard(lock);
    Node *node = reinterpret_cast<Node *>(object);
    node->next = free_;
    free_ = node;
  }

 private:
  struct Node {
    Node *next;
  };
  static_assert(sizeof(T) >= sizeof(Node));
  Node *free_ GUARDED_BY(lock) = nullptr;
  size_t made_ GUARDED_BY(lock) = 0;
};

}  // namespace warren::metadata
