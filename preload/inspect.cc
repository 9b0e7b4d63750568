// The C ABI of what looks into the heap: see warren/allocator.h for what each function promises.
#include "warren/allocator.h"

#include "inspect/heap_dump.h"
#include "preload/bypass.h"
#include "preload/entry_points.h"

#include <cerrno>

extern "C" {

WARREN_EXPORT int wr_heap_dump(const char *path) {
  if (path == nullptr) return EINVAL;
  if (warren::bypass::active()) return ENOTSUP;
  return warren::inspect::write_heap_dump(path);
}

}  // extern "C"
