/* A library that stands before every other malloc and passes all calls on, as heap profilers do. It looks the next
   functions up itself, and one that is not there: the text of that error is a block that the thread's next look-up frees.
   Preloaded by process_test.py, before and after the library. Invariant: what it gives away comes from the next malloc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

static void *(*next_malloc)(size_t);
static void *(*next_calloc)(size_t, size_t);
static void *(*next_realloc)(void *, size_t);
static void (*next_free)(void *);

static char early[4096];
static size_t early_used;

static void look_up(void) {
  static int busy;
  if (busy) return;
  busy = 1;
  *(void **)&next_malloc = dlsym(RTLD_NEXT, "malloc");
  *(void **)&next_calloc = dlsym(RTLD_NEXT, "calloc");
  *(void **)&next_realloc = dlsym(RTLD_NEXT, "realloc");
  *(void **)&next_free = dlsym(RTLD_NEXT, "free");
  dlsym(RTLD_NEXT, "there_is_no_such_function");
}

static void *take_early(size_t size) {
  void *block = early + early_used;
  early_used += (size + 15) / 16 * 16;
  return early_used <= sizeof early ? block : NULL;
}

void *malloc(size_t size) {
  if (next_malloc == NULL) look_up();
  return next_malloc != NULL ? next_malloc(size) : take_early(size);
}

void *calloc(size_t count, size_t size) {
  if (next_calloc == NULL) look_up();
  return next_calloc != NULL ? next_calloc(count, size) : take_early(count * size);
}

void *realloc(void *block, size_t size) {
  if (next_realloc == NULL) look_up();
  return next_realloc != NULL ? next_realloc(block, size) : take_early(size);
}

void free(void *block) {
  if ((char *)block >= early && (char *)block < early + sizeof early) return;
  if (next_free == NULL) look_up();
  if (next_free != NULL) next_free(block);
}
