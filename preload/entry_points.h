// The malloc family and the operators as this library defines them, under names that nobody can interpose. Defined in
// malloc.cc and new_delete.cc; bypass.cc and replaced_operators.cc compare them with what the loader resolved.
#pragma once

#include <cstddef>
#include <new>

#define WARREN_EXPORT __attribute__((visibility("default")))

#define WARREN_OWN __attribute__((visibility("hidden")))
#define WARREN_OWN_NEW WARREN_OWN __attribute__((malloc, alloc_size(1)))

extern "C" {
WARREN_OWN_NEW void *warren_own_malloc(size_t size) noexcept;
WARREN_OWN __attribute__((malloc, alloc_size(1, 2))) void *warren_own_calloc(size_t count, size_t size) noexcept;
WARREN_OWN __attribute__((alloc_size(2))) void *warren_own_realloc(void *block, size_t size) noexcept;
WARREN_OWN void warren_own_free(void *block) noexcept;

WARREN_OWN_NEW void *warren_own_new(size_t size);
WARREN_OWN_NEW void *warren_own_new_array(size_t size);
WARREN_OWN_NEW void *warren_own_new_nothrow(size_t size, const std::nothrow_t &) noexcept;
WARREN_OWN_NEW void *warren_own_new_nothrow_array(size_t size, const std::nothrow_t &) noexcept;
WARREN_OWN_NEW void *warren_own_new_aligned(size_t size, std::align_val_t align);
WARREN_OWN_NEW void *warren_own_new_aligned_array(size_t size, std::align_val_t align);
WARREN_OWN_NEW void *warren_own_new_aligned_nothrow(size_t size, std::align_val_t align, const std::nothrow_t &) noexcept;
WARREN_OWN_NEW void *warren_own_new_aligned_nothrow_array(size_t size, std::align_val_t align, const std::nothrow_t &) noexcept;
WARREN_OWN void warren_own_delete(void *block) noexcept;
WARREN_OWN void warren_own_delete_array(void *block) noexcept;
WARREN_OWN void warren_own_delete_nothrow(void *block, const std::nothrow_t &) noexcept;
WARREN_OWN void warren_own_delete_nothrow_array(void *block, const std::nothrow_t &) noexcept;
WARREN_OWN void warren_own_delete_sized(void *block, size_t size) noexcept;
WARREN_OWN void warren_own_delete_sized_array(void *block, size_t size) noexcept;
WARREN_OWN void warren_own_delete_aligned(void *block, std::align_val_t align) noexcept;
WARREN_OWN void warren_own_delete_aligned_array(void *block, std::align_val_t align) noexcept;
WARREN_OWN void warren_own_delete_aligned_nothrow(void *block, std::align_val_t align, const std::nothrow_t &) noexcept;
WARREN_OWN void warren_own_delete_aligned_nothrow_array(void *block, std::align_val_t align, const std::nothrow_t &) noexcept;
WARREN_OWN void warren_own_delete_sized_aligned(void *block, size_t size, std::align_val_t align) noexcept;
WARREN_OWN void warren_own_delete_sized_aligned_array(void *block, size_t size, std::align_val_t align) noexcept;
}
