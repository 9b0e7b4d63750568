// A library that deep_program.cc opens with RTLD_DEEPBIND, as PHP opens its extensions: what it calls malloc and free is
// libc's unless something is done. Its constructor allocates, and it takes and gives blocks of the program's.
// Invariant: every block it gives away was allocated here, every block it frees was not.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <string>

namespace {

char *of_constructor;

__attribute__((constructor)) void begin() { of_constructor = strdup("made by the constructor"); }

}  // namespace

extern "C" {

char *module_first() { return of_constructor; }

// A block from each of the functions that libc's heap has, `kind` from 0 on; nullptr: no more.
void *module_make(int kind) {
  char *text = nullptr;
  switch (kind) {
    case 0: return malloc(100);
    case 1: return calloc(3, 1000);
    case 2: return realloc(malloc(10), 100000);
    case 3: return reallocarray(nullptr, 7, 9);
    case 4: return aligned_alloc(256, 512);
    case 5: return memalign(64, 30);
    case 6: return valloc(10);
    case 7: return pvalloc(10);
    case 8: return posix_memalign(reinterpret_cast<void **>(&text), 32, 99) == 0 ? text : nullptr;
    case 9: return asprintf(&text, "%d words", kind) > 0 ? text : nullptr;
    case 10: return strdup("words");
    case 11: return malloc(std::size_t{1} << 20);
    default: return nullptr;
  }
}

bool module_take(void *block, bool resize) {
  const bool large = malloc_usable_size(block) >= 20;
  if (resize) block = realloc(block, 50000);
  free(block);
  return large;
}

std::string *module_words() { return new std::string(1000, 'w'); }
void module_drop(std::string *words) { delete words; }
}
