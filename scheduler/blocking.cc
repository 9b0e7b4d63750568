// Blocking calls and locked threads: the two ways in which a fiber keeps its thread to itself.
// Entering a blocking call changes two words; sysmon sees it and takes the P when others want it (m.h). So a short call
// costs next to nothing. The fiber may park before it leaves, and leave on another M: then sysmon does not see it any more,
// and takes that P as from any other who does not come back.
#include "include/warren/scheduler_core.h"
#include "allocator/base/check.h"
#include "scheduler/fiber.h"
#include "scheduler/state.h"

using namespace warren::scheduler;

namespace {

M *machine_of_fiber() {
  M *m = this_m();
  return m != nullptr && m->current != nullptr ? m : nullptr;
}

}  // namespace

extern "C" {

void wr_enter_blocking(void) {
  M *m = machine_of_fiber();
  if (m == nullptr) return;
  enter_runtime(m);
  bump(m->current->blocking, 1u);
  m->blocker.store(m->current, std::memory_order_release);  // pairs with is_blocking()
  if (P *p = m->p.load(std::memory_order_relaxed)) bump(p->blocking_calls, 1u);
  leave_runtime_quietly(m);
}

void wr_exit_blocking(void) {
  M *m = machine_of_fiber();
  if (m == nullptr) return;
  enter_runtime(m);
  CHECK(m->current->blocking.load(std::memory_order_relaxed) != 0);
  bump(m->current->blocking, ~0u);
  // Inside of another such call the fiber stays where it is.
  if (m->current->blocking.load(std::memory_order_relaxed) != 0) return leave_runtime_quietly(m);
  if (WARREN_UNLIKELY(m->p.load(std::memory_order_relaxed) == nullptr)) m = regain_p(m);
  leave_runtime(m);
}

void wr_lock_os_thread(void) {
  M *m = machine_of_fiber();
  if (m == nullptr) return;
  enter_runtime(m);
  G *g = m->current;
  g->locked_m = m;
  m->locked_g = g;
  ++g->locked_depth;
  leave_runtime_quietly(m);
}

void wr_unlock_os_thread(void) {
  M *m = machine_of_fiber();
  if (m == nullptr) return;
  enter_runtime(m);
  G *g = m->current;
  if (g->locked_depth != 0 && --g->locked_depth == 0) {
    g->locked_m = nullptr;
    m->locked_g = nullptr;
  }
  leave_runtime_quietly(m);
}

}  // extern "C"
