// A program that defines the whole of the old malloc family, as programs with a statically linked allocator
// do. Run by lifecycle_test under the preload.
// Invariant: see own_malloc_program.inc; in addition every aligned block is the program's.
#include "own_malloc.h"

#include <cerrno>

extern "C" {
void *malloc(std::size_t size) noexcept { return own::allocate(size); }
void free(void *block) noexcept { own::release(block); }
void *calloc(std::size_t count, std::size_t size) noexcept {
  if (size != 0 && count > own::kPoolBytes / size) return nullptr;
  return own::allocate(count * size);  // the pool is zeroed and never reused
}
void *realloc(void *block, std::size_t size) noexcept { return own::change(block, size); }
void *memalign(std::size_t alignment, std::size_t size) noexcept { return own::allocate(size, alignment); }
void *aligned_alloc(std::size_t alignment, std::size_t size) noexcept { return own::allocate(size, alignment); }
void *valloc(std::size_t size) noexcept { return own::allocate(size, 4096); }
int posix_memalign(void **result, std::size_t alignment, std::size_t size) noexcept {
  *result = own::allocate(size, alignment);
  return *result == nullptr ? ENOMEM : 0;
}
std::size_t malloc_usable_size(void *block) noexcept { return block == nullptr ? 0 : own::header_of(block)->size; }
}

#include "own_malloc_program.inc"
