// pthread_atfork, for the library's own calls. libc's lies in an archive, so that a copy of it comes with each library, and its place
// is the end of the code: one call of it at the start of each program had the kernel map 64 KiB there (WARREN_AT_START).
// Callers: whoever has handlers for fork, when the library is loaded. Invariant: does what libc's does.
#include "allocator/base/annotations.h"

extern "C" {

extern void *__dso_handle __attribute__((visibility("hidden")));
int __register_atfork(void (*prepare)(), void (*in_parent)(), void (*in_child)(), void *library);

__attribute__((visibility("hidden"))) WARREN_AT_START int pthread_atfork(void (*prepare)(), void (*in_parent)(), void (*in_child)()) {
  return __register_atfork(prepare, in_parent, in_child, &__dso_handle);
}

}  // extern "C"
