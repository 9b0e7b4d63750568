// The C side of the malloc family. Validates, forwards, sets errno; no policy.
// Semantics: glibc 2.36, POSIX and C23; where they differ, tests/contract lists what was chosen.
// Invariant: a failure is NULL with ENOMEM (EINVAL for a bad alignment), a success leaves errno alone.
#include "allocator/base/address.h"
#include "allocator/heap.h"
#include "preload/bypass.h"
#include "preload/counted_entries.h"
#include "preload/entry_points.h"
#include "preload/redirect.h"
#include "preload/start.h"

#include <cerrno>
#include <malloc.h>

namespace {

namespace bypass = warren::bypass;

void *fail(int error) {
  errno = error;
  return nullptr;
}

void *or_no_memory(void *block) { return WARREN_LIKELY(block != nullptr) ? block : fail(ENOMEM); }

WARREN_NOINLINE void *malloc_otherwise(size_t size) {
  if (WARREN_UNLIKELY(bypass::active())) return bypass::next<void *(size_t)>(bypass::Name::k_malloc)(size);
  return or_no_memory(warren::allocate_slow(size));
}

// In malloc's place for ever (counted_entries.h): small blocks first, and no look at whether somebody counts.
WARREN_NOINLINE void *malloc_counted(size_t size) { return warren::allocate_counted<malloc_otherwise>(size); }

WARREN_NOINLINE void *malloc_slow(size_t size) { return warren::allocate_beyond<malloc_otherwise, malloc_counted>(size); }

WARREN_NOINLINE void free_otherwise(void *block) {
  if (WARREN_UNLIKELY(bypass::is_foreign(block))) return bypass::next<void(void *)>(bypass::Name::k_free)(block);
  warren::release_slow(block, "free");
}

WARREN_NOINLINE void free_slow(void *block) {
  if (WARREN_UNLIKELY(!warren::release_medium(block))) free_otherwise(block);
}

template <void *(*Allocate)(size_t)>
WARREN_ALWAYS_INLINE void *calloc_by(size_t count, size_t size) {
  if (WARREN_UNLIKELY(bypass::active())) return bypass::next<void *(size_t, size_t)>(bypass::Name::k_calloc)(count, size);
  size_t bytes;
  if (WARREN_UNLIKELY(__builtin_mul_overflow(count, size, &bytes))) return fail(ENOMEM);
  return or_no_memory(Allocate(bytes));
}

WARREN_NOINLINE void *calloc_counted(size_t count, size_t size) { return calloc_by<warren::allocate_zeroed_counted>(count, size); }

WARREN_ALWAYS_INLINE void *first_block(size_t size) { return warren::allocate<warren::allocate_slow>(size); }
WARREN_ALWAYS_INLINE void *first_block_counted(size_t size) { return warren::allocate_counted<warren::allocate_slow>(size); }

WARREN_NOINLINE void realloc_to_nothing(void *block) {
  if (WARREN_UNLIKELY(!warren::release_medium(block))) warren::release_slow(block, "realloc");
}

template <void *(*FirstBlock)(size_t)>
WARREN_ALWAYS_INLINE void *reallocate_by(void *block, size_t size) {
  if (block == nullptr) return or_no_memory(FirstBlock(size));
  if (WARREN_UNLIKELY(size == 0)) {  // as glibc: C23 leaves it undefined
    warren::release<realloc_to_nothing>(block);
    return nullptr;
  }
  return or_no_memory(warren::reallocate(block, size, "realloc"));
}

void *reallocate(void *block, size_t size) { return reallocate_by<first_block>(block, size); }

WARREN_NOINLINE void *realloc_counted(void *block, size_t size) {
  if (WARREN_UNLIKELY(bypass::is_foreign(block))) {
    return bypass::next<void *(void *, size_t)>(bypass::Name::k_realloc)(block, size);
  }
  return reallocate_by<first_block_counted>(block, size);
}

void *aligned(size_t align, size_t size) { return or_no_memory(warren::allocate_aligned(align, size)); }

// memalign takes any alignment and rounds it up; above half of the address space that is impossible.
void *align_rounded_up(size_t align, size_t size) {
  if (align > (~size_t{0} >> 1) + 1) return fail(EINVAL);
  if (align < warren::kMinAlign) align = warren::kMinAlign;
  if (!warren::is_power_of_two(align)) align = size_t{1} << (64 - __builtin_clzll(align));
  return aligned(align, size);
}

WARREN_NOINLINE int posix_memalign_slow(void **out, size_t align, size_t size) {
  if (bypass::active()) return bypass::next<int(void **, size_t, size_t)>(bypass::Name::k_posix_memalign)(out, align, size);
  if (!warren::is_power_of_two(align) || align % sizeof(void *) != 0) return EINVAL;
  void *block = warren::allocate_aligned(align, size);
  if (block == nullptr) return ENOMEM;
  *out = block;
  return 0;
}

WARREN_NOINLINE void *aligned_alloc_slow(size_t align, size_t size) {
  if (bypass::active()) return bypass::next<void *(size_t, size_t)>(bypass::Name::k_aligned_alloc)(align, size);
  if (!warren::is_power_of_two(align)) return fail(EINVAL);
  return aligned(align, size);
}

WARREN_NOINLINE void *memalign_slow(size_t align, size_t size) {
  if (bypass::active()) return bypass::next<void *(size_t, size_t)>(bypass::Name::k_memalign)(align, size);
  return align_rounded_up(align, size);
}

void *whole_pages(size_t size) {
  const size_t rounded = warren::align_up(size, warren::kOsPageSize);
  if (rounded < size) return fail(ENOMEM);
  return aligned(warren::kOsPageSize, rounded == 0 ? warren::kOsPageSize : rounded);
}

}  // namespace

extern "C" {

WARREN_EXPORT void *malloc(size_t size) noexcept { return warren::allocate<malloc_slow>(size); }

WARREN_EXPORT void free(void *block) noexcept { warren::release<free_slow>(block); }

WARREN_EXPORT void *calloc(size_t count, size_t size) noexcept { return calloc_by<warren::allocate_zeroed>(count, size); }

WARREN_EXPORT void *realloc(void *block, size_t size) noexcept {
  if (WARREN_UNLIKELY(bypass::is_foreign(block))) {
    return bypass::next<void *(void *, size_t)>(bypass::Name::k_realloc)(block, size);
  }
  return reallocate(block, size);
}

WARREN_EXPORT void *reallocarray(void *block, size_t count, size_t size) noexcept {
  if (bypass::is_foreign(block)) {
    return bypass::next<void *(void *, size_t, size_t)>(bypass::Name::k_reallocarray)(block, count, size);
  }
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return fail(ENOMEM);
  return reallocate(block, bytes);
}

WARREN_EXPORT int posix_memalign(void **out, size_t align, size_t size) noexcept {
  void *block = align % sizeof(void *) == 0 ? warren::allocate_aligned_at_hand(align, size) : nullptr;
  if (WARREN_UNLIKELY(block == nullptr)) return posix_memalign_slow(out, align, size);
  *out = block;
  return 0;
}

WARREN_EXPORT void *aligned_alloc(size_t align, size_t size) noexcept {
  void *block = warren::allocate_aligned_at_hand(align, size);
  return WARREN_LIKELY(block != nullptr) ? block : aligned_alloc_slow(align, size);
}

WARREN_EXPORT void *memalign(size_t align, size_t size) noexcept {
  void *block = warren::allocate_aligned_at_hand(align, size);
  return WARREN_LIKELY(block != nullptr) ? block : memalign_slow(align, size);
}

WARREN_EXPORT void *valloc(size_t size) noexcept {
  if (bypass::active()) return bypass::next<void *(size_t)>(bypass::Name::k_valloc)(size);
  return aligned(warren::kOsPageSize, size);
}

WARREN_EXPORT void *pvalloc(size_t size) noexcept {
  if (bypass::active()) return bypass::next<void *(size_t)>(bypass::Name::k_pvalloc)(size);
  return whole_pages(size);
}

WARREN_EXPORT size_t malloc_usable_size(void *block) noexcept {
  if (bypass::is_foreign(block)) return bypass::next<size_t(void *)>(bypass::Name::k_malloc_usable_size)(block);
  return warren::usable_size(block, "malloc_usable_size");
}

// C23. The size is the program's word; the heap knows better and does not need it.
WARREN_EXPORT void free_sized(void *block, size_t) noexcept { warren::release<free_slow>(block); }
WARREN_EXPORT void free_aligned_sized(void *block, size_t, size_t) noexcept { warren::release<free_slow>(block); }

// Gone from glibc since 2.26 but for old binaries.
WARREN_EXPORT void cfree(void *block) noexcept { warren::release<free_slow>(block); }

// glibc's own names for the same functions; a block from one of them may be given to free.
WARREN_EXPORT void *__libc_malloc(size_t size) { return malloc(size); }
WARREN_EXPORT void *__libc_calloc(size_t count, size_t size) { return calloc(count, size); }
WARREN_EXPORT void *__libc_realloc(void *block, size_t size) { return realloc(block, size); }
WARREN_EXPORT void __libc_free(void *block) { free(block); }
WARREN_EXPORT void *__libc_memalign(size_t align, size_t size) { return memalign(align, size); }
WARREN_EXPORT void *__libc_valloc(size_t size) { return valloc(size); }
WARREN_EXPORT void *__libc_pvalloc(size_t size) { return pvalloc(size); }

// What bypass.cc compares with.
__attribute__((alias("malloc"))) void *warren_own_malloc(size_t size) noexcept;
__attribute__((alias("calloc"))) void *warren_own_calloc(size_t count, size_t size) noexcept;
__attribute__((alias("realloc"))) void *warren_own_realloc(void *block, size_t size) noexcept;
__attribute__((alias("free"))) void warren_own_free(void *block) noexcept;

}  // extern "C"

void warren::counted_entries::redirect_malloc(Redirection &redirection) {
  redirection.jump(warren_own_malloc, malloc_counted);
  redirection.jump(warren_own_calloc, calloc_counted);
  redirection.jump(warren_own_realloc, realloc_counted);
}
