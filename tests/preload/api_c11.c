/* The public headers in C11: compiled without warnings, and linked. Called by api_test.cc. */
#include <stdlib.h>
#include <warren/warren.h>

int api_c11_works(void);

int api_c11_works(void) {
  struct wr_mem_stats before, after;
  wr_read_mem_stats(&before);
  void *block = malloc(100);
  wr_read_mem_stats(&after);
  free(block);
  return after.heap_objects == before.heap_objects + 1 && wr_size_class(100) == 112;
}
