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

bool spinning_may_help() {
  const M *m = this_m();
  if (m == nullptr || m->current == nullptr) return true;  // a plain thread
  const P *p = m->p.load(std::memory_order_relaxed);       // it is never freed; relaxed throughout: nothing hangs on this
  if (p == nullptr || p->queue.size() == 0) return true;
  return sched.p_count.load(std::memory_order_relaxed) > 1 + static_cast<int>(sched.idle_p_count.load(std::memory_order_relaxed));
}

uint32_t run_of(const G *g) { return g->on_thread ? 0 : g->generation + 1; }

bool has_ended(uint32_t run) { return run != 0 && run != sched.generation.load(std::memory_order_relaxed) + 1; }

namespace {

// What park() does seldom is out of line, so that it saves one register and no more.
WARREN_COLD void cancel_park(M *m) {
  set_status(m->current, GStatus::kRunnable);
  set_status(m->current, GStatus::kRunning);
  leave_to_outside(m);
}

WARREN_ALWAYS_INLINE void park_in_runtime(M *m, bool (*unlock)(G *g, void *argument), void *argument, WaitReason reason,
                                          const void *awaited) {
  G *g = m->current;
  CHECK(g != nullptr);  // timers and unlock functions may not park
  g->reason = reason;
  g->awaited = awaited;
  P *p = m->p.load(std::memory_order_relaxed);
  if (p == nullptr || !p->alone || WARREN_UNLIKELY(unlock == nullptr)) {
    g->unlock = unlock;
    g->unlock_argument = argument;
    return leave_to_outside(switch_away<After::kPark>(m));
  }
  // Who makes it ready needs this P to run it, so that its stack may still be in use meanwhile.
  g->since = sched.coarse_time.load(std::memory_order_relaxed);
  set_status(g, GStatus::kWaiting);
  if (WARREN_UNLIKELY(!unlock(g, argument))) return cancel_park(m);
  // In the runtime its P is the M's for good.
  leave_to_outside(switch_away_on<After::kNothing, true>(m, m->p.load(std::memory_order_relaxed)));
}

WARREN_COLD void park_when_asked(M *m, bool (*unlock)(G *g, void *argument), void *argument, WaitReason reason,
                                 const void *awaited) {
  answer_request(m);
  park_in_runtime(m, unlock, argument, reason, awaited);
}

}  // namespace

void park(bool (*unlock)(G *g, void *argument), void *argument, WaitReason reason, const void *awaited) {
  M *m = this_m();
  if (WARREN_UNLIKELY(m == nullptr)) return park_thread(unlock, argument, reason);
  if (WARREN_UNLIKELY(!enter_from_outside_unasked(m))) return park_when_asked(m, unlock, argument, reason, awaited);
  park_in_runtime(m, unlock, argument, reason, awaited);
}

namespace {

WARREN_NOINLINE void wake_and_leave(M *m) {
  wake_p();
  leave_runtime_quietly(m);
}

WARREN_COLD void overflow_and_leave(M *m, P *p, G *kicked) {
  run_queue_overflow(p, kicked);
  if (!p->alone) wake_p();
  leave_runtime_quietly(m);
}

WARREN_ALWAYS_INLINE void ready_in_runtime(M *m, G *g) {
  P *p = m->p.load(std::memory_order_relaxed);
  if (WARREN_UNLIKELY(p == nullptr)) {
    leave_runtime_quietly(m);
    return make_runnable_globally(g);
  }
  const bool alone = p->alone;
  G *kicked = p->queue.exchange_next(g, alone);
  if (kicked != nullptr && WARREN_UNLIKELY(!p->queue.put_if_room(kicked))) return overflow_and_leave(m, p, kicked);
  if (!alone) return wake_and_leave(m);
  leave_runtime_quietly(m);
}

WARREN_COLD void ready_when_asked(M *m, G *g) {
  answer_request(m);
  ready_in_runtime(m, g);
}

// A plain thread's, or one that has not parked yet.
WARREN_NOINLINE void ready_not_parked(G *g) {
  if (g->on_thread) return ready_thread(g);  // its status never changes
  GStatus status = GStatus::kRunning;
  // release: what was written for the fiber is seen where its park() ends at once.
  if (g->status.compare_exchange_strong(status, GStatus::kReadied, std::memory_order_release, std::memory_order_acquire))
    return;
  CHECK(status == GStatus::kWaiting);  // else it was made ready twice
  ready(g);
}

}  // namespace

// Whatever it calls it calls last, so that it saves no register.
void ready(G *g) {
  // acquire: pairs with the release of whoever parked it.
  if (WARREN_UNLIKELY(g->status.load(std::memory_order_acquire) != GStatus::kWaiting)) return ready_not_parked(g);
  if (WARREN_UNLIKELY(g->generation != sched.generation.load(std::memory_order_relaxed)))
    return;  // of a run that has ended
  set_status(g, GStatus::kRunnable);
  M *m = this_m();
  if (WARREN_UNLIKELY(m == nullptr)) return make_runnable_globally(g);
  if (WARREN_UNLIKELY(!enter_runtime_unasked(m))) return ready_when_asked(m, g);
  ready_in_runtime(m, g);
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

// The asm, so that nobody who sees this body makes it what __errno_location() is declared to be.
WARREN_NOINLINE int *wr_errno_location(void) {
  int *location = __errno_location();
  asm volatile("" : "+r"(location));
  return location;
}

uint64_t wr_fiber_id(void) {
  const M *m = this_m();
  return m == nullptr || m->current == nullptr ? 0 : m->current->id;
}

}  // extern "C"
