// The C ABI of the searches for leaks and for stuck fibers; see warren/leaks.h.
// Validates and forwards. Invariant: no state.
#include "warren/leaks.h"

#include "inspect/leaks.h"
#include "inspect/stuck_fibers.h"
#include "preload/bypass.h"
#include "preload/entry_points.h"

extern "C" WARREN_EXPORT int64_t wr_leak_check(void) {
  return warren::bypass::active() ? -1 : warren::inspect::leaks::check();
}

extern "C" WARREN_EXPORT int64_t wr_stuck_check(void) {
  return warren::bypass::active() ? -1 : warren::inspect::stuck_fibers::check();
}
