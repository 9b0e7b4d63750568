// A program that defines malloc, free, calloc and realloc, and nothing else of the family: the set the C
// library's manual names as the least. Run by lifecycle_test under the preload.
// Invariant: see own_malloc_program.inc.
#include "own_malloc.h"

extern "C" {
void *malloc(std::size_t size) noexcept { return own::allocate(size); }
void free(void *block) noexcept { own::release(block); }
void *calloc(std::size_t count, std::size_t size) noexcept {
  if (size != 0 && count > own::kPoolBytes / size) return nullptr;
  return own::allocate(count * size);  // the pool is zeroed and never reused
}
void *realloc(void *block, std::size_t size) noexcept { return own::change(block, size); }
}

#include "own_malloc_program.inc"
