/* A program with a block of the C library's own heap in hand, as it gets one that asks libc.so.6 by name.
   Run by process_test.py with the option `foreign` both ways. Prints what it got that far. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
  void *libc = dlopen("libc.so.6", RTLD_NOW);
  void *(*theirs)(size_t) = (void *(*)(size_t))dlsym(libc, "malloc");
  char *block = theirs(100);
  strcpy(block, "theirs");
  printf("%d\n", malloc_usable_size(block) >= 100);
  fflush(stdout);
  block = realloc(block, 5000);
  printf("%s\n", block);
  fflush(stdout);
  free(block);
  puts("freed");
  return 0;
}
