/* A program that is not position-independent and takes malloc's address: the loader then resolves malloc to this
   program's own PLT entry for everybody, which must not be taken for a malloc of its own. Run by process_test.py.
   Prints the usable size of a block of 100 bytes, which names the heap: 112 is warren's, 104 glibc's. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  void *(*volatile allocate)(size_t) = malloc;
  void (*volatile release)(void *) = free;
  void *block = allocate(100);
  printf("%zu\n", malloc_usable_size(block));
  release(block);
  return 0;
}
