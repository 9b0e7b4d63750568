// Parking, readiness, yielding. See park.h.
#include "scheduler/park.h"

#include "allocator/base/check.h"
#include "include/warren/scheduler_core.h"
#include "scheduler/g_status.h"
#include "scheduler/idle.h"
#include "scheduler/state.h"
#include "scheduler/switch.h"
#include "scheduler/thread_g.h"

#include <sched.h>

namespace warren::scheduler {

G *current() {
  M *m = this_m();
  if (WARREN_LIKELY(m != nullptr && m->current != nullptr)) return m->current;
  return thread_g();
}

void park(bool (*unlock)(G *g, void *argument), void *argument, WaitReason reason, const void *awaited) {
  M *m = this_m();
  if (WARREN_UNLIKELY(m == nullptr)) return park_thread(unlock, argument, reason);
  enter_from_outside(m);
  G *g = m->current;
  CHECK(g != nullptr);  // timers and unlock functions may not park
  g->reason = reason;
  g->awaited = awaited;
  P *p = m->p.load(std::memory_order_relaxed);
  if (WARREN_LIKELY(p != nullptr && p->alone && unlock != nullptr)) {
    // Who makes it ready needs this P to run it, so that its stack may still be in use meanwhile.
    g->since = sched.coarse_time.load(std::memory_order_relaxed);
    set_status(g, GStatus::kWaiting);
    if (WARREN_LIKELY(unlock(g, argument))) {
      m = switch_away<After::kNothing>(m);
    } else {
      set_status(g, GStatus::kRunnable);
      set_status(g, GStatus::kRunning);
    }
  } else {
    g->unlock = unlock;
    g->unlock_argument = argument;
    m = switch_away<After::kPark>(m);
  }
  leave_to_outside(m);
}

void ready(G *g) {
  // acquire: pairs with the release of whoever parked it.
  GStatus status = g->status.load(std::memory_order_acquire);
  if (WARREN_UNLIKELY(status != GStatus::kWaiting)) {
    if (g->on_thread) return ready_thread(g);  // its status never changes
    status = GStatus::kRunning;
    // release: what was written for the fiber is seen where its park() ends at once.
    if (g->status.compare_exchange_strong(status, GStatus::kReadied, std::memory_order_release,
                                          std::memory_order_acquire))
      return;
    CHECK(status == GStatus::kWaiting);  // else it was made ready twice
  }
  if (WARREN_UNLIKELY(g->generation != sched.generation.load(std::memory_order_relaxed)))
    return;  // of a run that has ended
  set_status(g, GStatus::kRunnable);
  M *m = this_m();
  if (WARREN_LIKELY(m != nullptr)) {
    enter_runtime(m);
    P *p = m->p.load(std::memory_order_relaxed);
    if (WARREN_LIKELY(p != nullptr)) {
      run_queue_put(p, g, true);
      if (!p->alone) wake_p();
      return leave_runtime_quietly(m);
    }
    leave_runtime_quietly(m);
  }
  make_runnable_globally(g);
}

}  // namespace warren::scheduler

using namespace warren::scheduler;

extern "C" {

void wr_yield(void) {
  M *m = this_m();
  if (WARREN_UNLIKELY(m == nullptr)) {
    sched_yield();
    return;
  }
  enter_from_outside(m);
  m = switch_away<After::kYield>(m);
  leave_to_outside(m);
}

void wr_preempt_point(void) {
  M *m = this_m();
  if (WARREN_LIKELY(m == nullptr)) return;
  // Whoever was in the runtime since may have seen the request, and could not switch.
  if (WARREN_LIKELY(m->taken.load(std::memory_order_relaxed) == not_taken && !m->slice_over)) return;
  enter_runtime(m);
  leave_runtime(m);
}

uint64_t wr_fiber_id(void) {
  const M *m = this_m();
  return m == nullptr || m->current == nullptr ? 0 : m->current->id;
}

}  // extern "C"
