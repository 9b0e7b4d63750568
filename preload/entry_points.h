// The malloc family as this library defines it, under names that nobody can interpose.
// Callers: bypass.cc compares them with what the loader resolved; malloc.cc defines them.
#pragma once

#include <cstddef>

#define WARREN_EXPORT __attribute__((visibility("default")))

#define WARREN_OWN __attribute__((visibility("hidden")))

extern "C" {
WARREN_OWN __attribute__((malloc, alloc_size(1))) void *warren_own_malloc(size_t size) noexcept;
WARREN_OWN __attribute__((malloc, alloc_size(1, 2))) void *warren_own_calloc(size_t count, size_t size) noexcept;
WARREN_OWN __attribute__((alloc_size(2))) void *warren_own_realloc(void *block, size_t size) noexcept;
WARREN_OWN void warren_own_free(void *block) noexcept;
}
