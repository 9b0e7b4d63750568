// The malloc family as the cases call it: through volatile pointers, so that no compiler knows what it calls
// and none of its attributes (malloc, alloc_align, returns_nonnull) turns a check into a constant.
// Used by all cases. Invariant: each pointer is set by the loader; nothing here runs before main.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <initializer_list>
#include <malloc.h>

extern "C" {
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void __libc_free(void *);
void *__libc_memalign(size_t, size_t);
void *__libc_valloc(size_t);
void *__libc_pvalloc(size_t);
}

namespace contract::call {

inline void *(*volatile malloc)(size_t) = ::malloc;
inline void *(*volatile calloc)(size_t, size_t) = ::calloc;
inline void *(*volatile realloc)(void *, size_t) = ::realloc;
inline void (*volatile free)(void *) = ::free;
inline void *(*volatile reallocarray)(void *, size_t, size_t) = ::reallocarray;
inline int (*volatile posix_memalign)(void **, size_t, size_t) = ::posix_memalign;
inline void *(*volatile aligned_alloc)(size_t, size_t) = ::aligned_alloc;
inline void *(*volatile memalign)(size_t, size_t) = ::memalign;
inline void *(*volatile valloc)(size_t) = ::valloc;
inline void *(*volatile pvalloc)(size_t) = ::pvalloc;
inline size_t (*volatile malloc_usable_size)(void *) = ::malloc_usable_size;

inline void *(*volatile libc_malloc)(size_t) = ::__libc_malloc;
inline void *(*volatile libc_calloc)(size_t, size_t) = ::__libc_calloc;
inline void *(*volatile libc_realloc)(void *, size_t) = ::__libc_realloc;
inline void (*volatile libc_free)(void *) = ::__libc_free;
inline void *(*volatile libc_memalign)(size_t, size_t) = ::__libc_memalign;
inline void *(*volatile libc_valloc)(size_t) = ::__libc_valloc;
inline void *(*volatile libc_pvalloc)(size_t) = ::__libc_pvalloc;

// Absent from glibc 2.36: looked up, so that the control run links. nullptr where there is none.
inline auto *find_free_sized() { return reinterpret_cast<void (*)(void *, size_t)>(dlsym(RTLD_DEFAULT, "free_sized")); }
inline auto *find_free_aligned_sized() {
  return reinterpret_cast<void (*)(void *, size_t, size_t)>(dlsym(RTLD_DEFAULT, "free_aligned_sized"));
}
inline auto *find_cfree() { return reinterpret_cast<void (*)(void *)>(dlsym(RTLD_DEFAULT, "cfree")); }

}  // namespace contract::call

namespace contract {

inline constexpr size_t kOsPage = 4096;

inline unsigned char *bytes(void *block) { return static_cast<unsigned char *>(block); }

// Every function that returns a block, as one of a size: NULL and errno on failure, also by posix_memalign.
// pvalloc comes last: where it is another allocator's, its blocks cannot be freed.
struct Maker {
  const char *name;
  void *(*make)(size_t);
  size_t align;
};

inline void *make_posix(size_t size) {
  void *out = nullptr;
  const int error = call::posix_memalign(&out, 128, size);
  if (error != 0) errno = error;
  return out;
}

inline constexpr Maker kMakers[] = {
    {"malloc(n)", [](size_t n) { return call::malloc(n); }, 16},
    {"calloc(1, n)", [](size_t n) { return call::calloc(1, n); }, 16},
    {"calloc(n, 1)", [](size_t n) { return call::calloc(n, 1); }, 16},
    {"realloc(NULL, n)", [](size_t n) { return call::realloc(nullptr, n); }, 16},
    {"reallocarray(NULL, 1, n)", [](size_t n) { return call::reallocarray(nullptr, 1, n); }, 16},
    {"reallocarray(NULL, n, 1)", [](size_t n) { return call::reallocarray(nullptr, n, 1); }, 16},
    {"memalign(64, n)", [](size_t n) { return call::memalign(64, n); }, 64},
    {"aligned_alloc(32, n)", [](size_t n) { return call::aligned_alloc(32, n); }, 32},
    {"posix_memalign(128, n)", make_posix, 128},
    {"valloc(n)", [](size_t n) { return call::valloc(n); }, kOsPage},
    {"pvalloc(n)", [](size_t n) { return call::pvalloc(n); }, kOsPage},
};

// Go's size classes without 24, and sizes beyond them.
inline constexpr size_t kClasses[] = {
    8,    16,   32,   48,   64,   80,   96,   112,  128,  144,   160,   176,   192,   208,   224,   240,   256,
    288,  320,  352,  384,  416,  448,  480,  512,  576,  640,   704,   768,   896,   1024,  1152,  1280,  1408,
    1536, 1792, 2048, 2304, 2688, 3072, 3200, 3456, 4096, 4864,  5120,  5376,  6144,  6528,  6784,  6912,  8192,
    9472, 9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264, 28672, 32768};
inline constexpr size_t kLargeSizes[] = {32769, 40960, 65536, 200000, 262144, (size_t{1} << 20) + 1, size_t{3} << 20};

}  // namespace contract
