// The heap profile's C ABI; see warren/profile.h for what each function promises.
#include "warren/profile.h"

#include "allocator/heap.h"
#include "inspect/heap_profile.h"
#include "preload/bypass.h"
#include "preload/entry_points.h"

#include <cerrno>

namespace heap_profile = warren::inspect::heap_profile;

extern "C" {

WARREN_EXPORT void wr_profile_start(uint64_t rate) {
  if (!warren::bypass::active() && warren::heap::set_up()) heap_profile::start(rate);
}

WARREN_EXPORT void wr_profile_stop(void) {
  if (heap_profile::has_started()) heap_profile::stop();
}

WARREN_EXPORT int wr_profile_dump(const char *path) {
  return path == nullptr ? EINVAL : heap_profile::dump(path, heap_profile::View::kInUse);
}

}  // extern "C"
