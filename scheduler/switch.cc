// See switch.h.
#include "scheduler/switch.h"

#include "allocator/base/check.h"
#include "scheduler/g_status.h"
#include "scheduler/idle.h"
#include "scheduler/fiber.h"
#include "scheduler/state.h"

namespace warren::scheduler {
namespace {

// The fiber to go straight to; nullptr: the schedule loop is to look.
G *pick(M *m) {
  P *p = m->p.load(std::memory_order_relaxed);
  if (p == nullptr || m->locked_g != nullptr || m->ends) return nullptr;
  if (p->attention.load(std::memory_order_relaxed) != 0) return nullptr;  // a hint: missed once is seen next time
  if (++p->tick % kFairnessTick == 0) return nullptr;
  const auto [g, inherits_slice] = p->queue.take(p->alone);
  if (g == nullptr) return nullptr;
  if (g->locked_m != nullptr) {
    m->picked = g;
    return nullptr;
  }
  if (!inherits_slice) bump(p->slices, 1u);
  return g;
}

void begin(M *m, G *g) {
  set_status(g, GStatus::kRunning);
  g->m.store(m, std::memory_order_relaxed);
  m->current = g;
  m->slice_over = false;
}

// What its fiber had in flight leaves the thread, which is clean for the next.
inline void take_exceptions(M *m, G *g) {
  if (WARREN_LIKELY(!m->exceptions->any())) return;
  g->exceptions = *m->exceptions;
  *m->exceptions = {};
}

inline void give_exceptions(M *m, G *g) {
  if (WARREN_LIKELY(!g->exceptions.any())) return;
  *m->exceptions = g->exceptions;
  g->exceptions = {};
}

// Goes on at once, where there is no other thread to see it parked.
void go_on(M *m, G *g) {
  set_status(g, GStatus::kRunnable);
  P *p = m->p.load(std::memory_order_relaxed);
  if (p == nullptr) return make_runnable_globally(g);
  run_queue_put(p, g, true);
}

void finish_park(M *m, G *g) {
  g->since = sched.coarse_time.load(std::memory_order_relaxed);
  if (auto *unlock = g->unlock) {
    // Nobody may make it ready before it is unlocked, so a plain store is enough. release: pairs with ready().
    set_status(g, GStatus::kWaiting);
    if (!unlock(g, g->unlock_argument)) go_on(m, g);
    return;
  }
  GStatus expected = GStatus::kRunning;
  // release: as above. Failure: it was made ready before it got here; acquire pairs with that.
  if (!g->status.compare_exchange_strong(expected, GStatus::kWaiting, std::memory_order_release,
                                         std::memory_order_acquire)) {
    DCHECK(expected == GStatus::kReadied);
    go_on(m, g);
  }
}

}  // namespace

void finish_switch(M *m) {
  G *g = m->previous;
  if (g == nullptr) return;
  m->previous = nullptr;
  P *p = m->p.load(std::memory_order_relaxed);
  switch (m->after) {
    case After::kNothing: break;
    case After::kYield:
      set_status(g, GStatus::kRunnable);
      if (p == nullptr) return make_runnable_globally(g);
      run_queue_put(p, g, false);
      break;
    case After::kPreempted:
      set_status(g, GStatus::kRunnable);
      make_runnable_globally(g);
      break;
    case After::kPark: finish_park(m, g); break;
    case After::kEnd: finish_end(m, g); break;
  }
}

M *switch_away(M *m, After after) {
  G *g = m->current;
  m->previous = g;
  m->after = after;
  g->saved_errno = *m->errno_location;
  take_exceptions(m, g);
  G *next = pick(m);
  void *sp = m->loop_sp;
  ToolStack *to = &m->tool_stack;
  if (WARREN_LIKELY(next != nullptr)) {
    begin(m, next);
    sp = next->sp;
    to = &next->tool_stack;
  } else {
    m->current = nullptr;
  }
  stack_tools::leave(g->tool_stack, *to, after == After::kEnd);
  m = warren_switch(&g->sp, sp, m);
  stack_tools::arrive(g->tool_stack);
  finish_switch(m);
  *m->errno_location = g->saved_errno;
  give_exceptions(m, g);
  return m;
}

void execute(M *m, G *g, bool inherits_slice) {
  begin(m, g);
  if (!inherits_slice) bump(m->p.load(std::memory_order_relaxed)->slices, 1u);
  void *sp = g->sp;
  stack_tools::leave(m->tool_stack, g->tool_stack, false);
  warren_switch(&m->loop_sp, sp, m);  // arrives on the same thread, whichever fiber comes back
  stack_tools::arrive(m->tool_stack);
  finish_switch(m);
}

}  // namespace warren::scheduler
