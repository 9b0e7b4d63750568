// Every replaceable operator new and delete. Source of the semantics: C++20 [new.delete].
// Fast paths are malloc's and free's; a failure runs the new handler and throws std::bad_alloc, both of
// which belong to the C++ runtime of the program, looked up only then (cxx_runtime.h).
// Invariant: any operator delete, and free, accepts what any operator new, or malloc, returned.
#include "allocator/base/address.h"
#include "allocator/heap.h"
#include "preload/bypass.h"
#include "preload/counted_entries.h"
#include "preload/cxx_runtime.h"
#include "preload/entry_points.h"
#include "preload/redirect.h"
#include "preload/start.h"

#include <cstdlib>
#include <new>

namespace {

namespace bypass = warren::bypass;
namespace cxx_runtime = warren::cxx_runtime;

constexpr size_t kUnaligned = 0;  // operator new without an alignment: malloc's

// One attempt, on the heap that owns the process's malloc.
void *attempt(size_t size, size_t align) {
  if (WARREN_UNLIKELY(bypass::active())) {
    return align == kUnaligned ? ::malloc(size) : ::aligned_alloc(align, warren::align_up(size, align));
  }
  return align == kUnaligned ? warren::allocate_slow(size) : warren::allocate_aligned(align, size);
}

void *throwing(size_t size, size_t align) {
  for (;;) {
    if (void *block = attempt(size, align)) return block;
    const cxx_runtime::NewHandler handler = cxx_runtime::new_handler();
    if (handler == nullptr) cxx_runtime::throw_bad_alloc();
    handler();
  }
}

// A handler may throw, and catching needs the C++ runtime: its own nothrow operator calls the throwing
// one, which is ours, and catches.
void *not_throwing(size_t size, size_t align) {
  if (void *block = attempt(size, align)) return block;
  if (cxx_runtime::new_handler() == nullptr) return nullptr;
  void *block;
  return cxx_runtime::nothrow_new(size, align, false, &block) ? block : nullptr;
}

WARREN_NOINLINE void *new_otherwise(size_t size) { return throwing(size, kUnaligned); }
WARREN_NOINLINE void *nothrow_new_otherwise(size_t size) { return not_throwing(size, kUnaligned); }

// In the place of the operators for ever, as malloc_counted.
WARREN_NOINLINE void *new_counted(size_t size) { return warren::allocate_counted<new_otherwise>(size); }
WARREN_NOINLINE void *nothrow_new_counted(size_t size) { return warren::allocate_counted<nothrow_new_otherwise>(size); }

WARREN_NOINLINE void *new_slow(size_t size) { return warren::allocate_beyond<new_otherwise, new_counted>(size); }
WARREN_NOINLINE void *nothrow_new_slow(size_t size) {
  return warren::allocate_beyond<nothrow_new_otherwise, nothrow_new_counted>(size);
}

WARREN_NOINLINE void delete_otherwise(void *block) {
  if (WARREN_UNLIKELY(bypass::active())) return ::free(block);
  if (WARREN_UNLIKELY(bypass::is_foreign(block))) return bypass::next<void(void *)>(bypass::Name::k_free)(block);
  warren::release_slow(block, "free");
}

WARREN_NOINLINE void delete_slow(void *block) {
  if (WARREN_UNLIKELY(!warren::release_medium(block))) delete_otherwise(block);
}

size_t bytes(std::align_val_t align) { return static_cast<size_t>(align); }

WARREN_ALWAYS_INLINE void *allocate(size_t size) { return warren::allocate<new_slow>(size); }
WARREN_ALWAYS_INLINE void *allocate_nothrow(size_t size) { return warren::allocate<nothrow_new_slow>(size); }
WARREN_ALWAYS_INLINE void release(void *block) { warren::release<delete_slow>(block); }

WARREN_NOINLINE void release_of_any_size(void *block) { release(block); }
WARREN_ALWAYS_INLINE void release(void *block, size_t size) { warren::release_sized<release_of_any_size>(block, size); }

}  // namespace

WARREN_EXPORT void *operator new(size_t size) { return allocate(size); }
WARREN_EXPORT void *operator new[](size_t size) { return allocate(size); }
WARREN_EXPORT void *operator new(size_t size, const std::nothrow_t &) noexcept { return allocate_nothrow(size); }
WARREN_EXPORT void *operator new[](size_t size, const std::nothrow_t &) noexcept { return allocate_nothrow(size); }
WARREN_EXPORT void *operator new(size_t size, std::align_val_t align) { return throwing(size, bytes(align)); }
WARREN_EXPORT void *operator new[](size_t size, std::align_val_t align) { return throwing(size, bytes(align)); }
WARREN_EXPORT void *operator new(size_t size, std::align_val_t align, const std::nothrow_t &) noexcept {
  return not_throwing(size, bytes(align));
}
WARREN_EXPORT void *operator new[](size_t size, std::align_val_t align, const std::nothrow_t &) noexcept {
  return not_throwing(size, bytes(align));
}

WARREN_EXPORT void operator delete(void *block) noexcept { release(block); }
WARREN_EXPORT void operator delete[](void *block) noexcept { release(block); }
WARREN_EXPORT void operator delete(void *block, const std::nothrow_t &) noexcept { release_of_any_size(block); }
WARREN_EXPORT void operator delete[](void *block, const std::nothrow_t &) noexcept { release_of_any_size(block); }
WARREN_EXPORT void operator delete(void *block, size_t size) noexcept { release(block, size); }
WARREN_EXPORT void operator delete[](void *block, size_t size) noexcept { release(block, size); }
WARREN_EXPORT void operator delete(void *block, std::align_val_t) noexcept { release_of_any_size(block); }
WARREN_EXPORT void operator delete[](void *block, std::align_val_t) noexcept { release_of_any_size(block); }
WARREN_EXPORT void operator delete(void *block, std::align_val_t, const std::nothrow_t &) noexcept { release_of_any_size(block); }
WARREN_EXPORT void operator delete[](void *block, std::align_val_t, const std::nothrow_t &) noexcept { release_of_any_size(block); }
WARREN_EXPORT void operator delete(void *block, size_t, std::align_val_t) noexcept { release_of_any_size(block); }
WARREN_EXPORT void operator delete[](void *block, size_t, std::align_val_t) noexcept { release_of_any_size(block); }

extern "C" {

// What replaced_operators.cc compares with, and writes jumps to.
#define WARREN_ALIAS(symbol) __attribute__((alias(symbol)))
WARREN_ALIAS("_Znwm") void *warren_own_new(size_t size);
WARREN_ALIAS("_Znam") void *warren_own_new_array(size_t size);
WARREN_ALIAS("_ZnwmRKSt9nothrow_t") void *warren_own_new_nothrow(size_t size, const std::nothrow_t &) noexcept;
WARREN_ALIAS("_ZnamRKSt9nothrow_t") void *warren_own_new_nothrow_array(size_t size, const std::nothrow_t &) noexcept;
WARREN_ALIAS("_ZnwmSt11align_val_t") void *warren_own_new_aligned(size_t size, std::align_val_t align);
WARREN_ALIAS("_ZnamSt11align_val_t") void *warren_own_new_aligned_array(size_t size, std::align_val_t align);
WARREN_ALIAS("_ZnwmSt11align_val_tRKSt9nothrow_t")
void *warren_own_new_aligned_nothrow(size_t size, std::align_val_t align, const std::nothrow_t &) noexcept;
WARREN_ALIAS("_ZnamSt11align_val_tRKSt9nothrow_t")
void *warren_own_new_aligned_nothrow_array(size_t size, std::align_val_t align, const std::nothrow_t &) noexcept;
WARREN_ALIAS("_ZdlPv") void warren_own_delete(void *block) noexcept;
WARREN_ALIAS("_ZdaPv") void warren_own_delete_array(void *block) noexcept;
WARREN_ALIAS("_ZdlPvRKSt9nothrow_t") void warren_own_delete_nothrow(void *block, const std::nothrow_t &) noexcept;
WARREN_ALIAS("_ZdaPvRKSt9nothrow_t") void warren_own_delete_nothrow_array(void *block, const std::nothrow_t &) noexcept;
WARREN_ALIAS("_ZdlPvm") void warren_own_delete_sized(void *block, size_t size) noexcept;
WARREN_ALIAS("_ZdaPvm") void warren_own_delete_sized_array(void *block, size_t size) noexcept;
WARREN_ALIAS("_ZdlPvSt11align_val_t") void warren_own_delete_aligned(void *block, std::align_val_t align) noexcept;
WARREN_ALIAS("_ZdaPvSt11align_val_t") void warren_own_delete_aligned_array(void *block, std::align_val_t align) noexcept;
WARREN_ALIAS("_ZdlPvSt11align_val_tRKSt9nothrow_t")
void warren_own_delete_aligned_nothrow(void *block, std::align_val_t align, const std::nothrow_t &) noexcept;
WARREN_ALIAS("_ZdaPvSt11align_val_tRKSt9nothrow_t")
void warren_own_delete_aligned_nothrow_array(void *block, std::align_val_t align, const std::nothrow_t &) noexcept;
WARREN_ALIAS("_ZdlPvmSt11align_val_t")
void warren_own_delete_sized_aligned(void *block, size_t size, std::align_val_t align) noexcept;
WARREN_ALIAS("_ZdaPvmSt11align_val_t")
void warren_own_delete_sized_aligned_array(void *block, size_t size, std::align_val_t align) noexcept;
#undef WARREN_ALIAS

}  // extern "C"

void warren::counted_entries::redirect_new(Redirection &redirection) {
  redirection.jump(warren_own_new, new_counted);
  redirection.jump(warren_own_new_array, new_counted);
  redirection.jump(warren_own_new_nothrow, nothrow_new_counted);
  redirection.jump(warren_own_new_nothrow_array, nothrow_new_counted);
}
