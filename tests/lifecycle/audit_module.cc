// An auditing library (LD_AUDIT): the loader puts it, with a C library of its own, into a namespace of its
// own and calls it before the program's libraries are relocated. Used by lifecycle_test.
// Invariant: its malloc is its own C library's, whatever is preloaded into the program.
#include <link.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

extern "C" {

__attribute__((visibility("default"))) unsigned la_version(unsigned version) {
  auto *block = static_cast<char *>(malloc(500));
  if (block != nullptr) std::memset(block, 'a', 500);
  free(block);
  return version;
}

__attribute__((visibility("default"))) unsigned la_objopen(link_map *, Lmid_t, uintptr_t *) {
  void *(*volatile take)(std::size_t) = &malloc;
  free(take(2'000));
  return 0;
}

}  // extern "C"
