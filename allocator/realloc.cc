// Another size for a block: in place where it fits, else by moving pages or copying. See heap.h.
#include "allocator/block.h"
#include "allocator/emergency.h"
#include "allocator/heap.h"
#include "allocator/large.h"
#include "allocator/misuse.h"
#include "allocator/sampling.h"
#include "allocator/thread.h"

#include <cstring>

namespace warren {
namespace {

void release_moved(void *block) {
  if (WARREN_UNLIKELY(!release_medium(block))) release_slow(block, "realloc");
}

void *copy_to_new(void *block, size_t old_size, size_t size) {
  void *copy = allocate<allocate_slow>(size);
  if (copy == nullptr) return nullptr;
  memcpy(copy, block, old_size < size ? old_size : size);
  release<release_moved>(block);
  return copy;
}

// A block of a class stays while it fits and is not less than half used: halving once and growing again is
// common, and moving costs more than the slack.
bool fits(size_t size, size_t usable) { return size <= usable && size > usable / 2; }

void *reallocate_large(void *block, size_t old_size, size_t size) {
  {
    CacheAccess access;
    if (!access.reentered()) {
      void *resized = large::reallocate(block, size);
      if (resized != nullptr || access.cache() == nullptr || !access.cache()->large.flush()) return resized;
      return large::reallocate(block, size);  // at a limit: with what this thread has freed
    }
  }
  return copy_to_new(block, old_size, size);
}

// While allocations are counted: as if a block had been freed and another allocated, whether it moves or not. A sampled one
// counts as freed also when there is no memory for its new size.
WARREN_COLD void *reallocate_large_counted(void *block, const Block &found, size_t old_size, size_t size, const char *function) {
  if (found.sampled) {
    switch (sampling::remove(block)) {
      case sampling::Removal::kDone: *found.mark = object_map::kLargeMark; break;
      case sampling::Removal::kRaced: misuse::report(function, block); return nullptr;
      case sampling::Removal::kBusy: return copy_to_new(block, old_size, size);
    }
  }
  if (!sampling::counts()) return reallocate_large(block, old_size, size);
  return sampling::counted(size, [block, old_size](size_t bytes) { return reallocate_large(block, old_size, bytes); });
}

}  // namespace

void *reallocate(void *block, size_t size, const char *function) {
  const uintptr_t address = address_of(block);
  if (emergency::contains(address)) return copy_to_new(block, emergency::size_of(block), size);
  const Block found = find_block(address);
  if (found.kind == Block::Kind::kNone) {
    misuse::report(function, block);
    return nullptr;
  }
  const size_t usable = block_size(found, address);
  if (found.kind != Block::Kind::kLarge) {
    if (fits(size, usable) || rounded_size(size) == usable) return block;
  } else if (size > kMaxClassSize) {
    if (rounded_size(size) == 0) return nullptr;
    if (WARREN_UNLIKELY(found.sampled || sampling::counts())) return reallocate_large_counted(block, found, usable, size, function);
    return reallocate_large(block, usable, size);
  }
  return copy_to_new(block, usable, size);
}

}  // namespace warren
