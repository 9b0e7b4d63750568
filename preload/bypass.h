// Standing aside where the program brings its own malloc.
// A main program that defines malloc (a statically linked jemalloc, say) wins over any preload, but only
// for the functions it defines; ours would answer the rest, and blocks of two heaps would mix. Then
// every function of ours steps aside for what would be there without us.
// Callers: the slow paths of preload/. Invariant: the answer never changes after the first question.
#pragma once

#include <cstddef>

namespace warren::bypass {

// True when the process's malloc, calloc, realloc or free is not ours. Found out by comparing addresses
// that the loader resolved; only where they differ is the loader asked what they are.
bool active();

// Whether a function, as the loader resolved it for the process, is the one that we define.
bool is_ours_address(void *resolved, void *own);

template <class Function>
bool is_ours(Function *resolved, Function *own) {
  return is_ours_address(reinterpret_cast<void *>(resolved), reinterpret_cast<void *>(own));
}

// The functions that may be passed on.
#define WARREN_NEXT_FUNCTIONS(X)                                                                                \
  X(malloc) X(calloc) X(realloc) X(free) X(reallocarray) X(posix_memalign) X(aligned_alloc) X(memalign) X(valloc) \
  X(pvalloc) X(malloc_usable_size) X(malloc_trim) X(mallinfo) X(mallinfo2) X(mallopt) X(malloc_stats) X(malloc_info)

enum class Name {
#define WARREN_NEXT_ENUMERATOR(name) k_##name,
  WARREN_NEXT_FUNCTIONS(WARREN_NEXT_ENUMERATOR)
#undef WARREN_NEXT_ENUMERATOR
  kCount
};

// The definition behind ours; looked up once. A process without one cannot go on. The look-up frees the text of its thread's
// last error, which may come back here: to a thread inside the look-up this gives functions of our own, which let that text be.
void *next_function(Name name);

// Whether a block is for the next malloc: all that are not this heap's where we stand aside, or where the option `foreign`
// says so.
bool is_foreign(const void *block);

// From now on there is no such pointer, whatever the option says: the next malloc has become ours.
void nothing_is_foreign();

template <class Function>
Function *next(Name name) {
  return reinterpret_cast<Function *>(next_function(name));
}

}  // namespace warren::bypass
