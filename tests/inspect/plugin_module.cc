// A library that heap_profile_test.py's program loads and unloads. Invariant: it allocates in a function of its own.
#include <cstddef>
#include <cstdlib>

extern "C" __attribute__((noinline)) void *plugin_allocate(size_t size) {
  void *block = malloc(size);
  asm volatile("" : "+r"(block) : : "memory");
  return block;
}
