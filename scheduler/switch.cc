// See switch.h.
#include "scheduler/switch.h"

#include "allocator/base/check.h"
#include "scheduler/fiber.h"
#include "scheduler/idle.h"
#include "scheduler/state.h"

namespace warren::scheduler {
namespace {

// Goes on at once, where there is no other thread to see it parked.
void go_on(M *m, G *g) {
  set_status(g, GStatus::kRunnable);
  P *p = m->p.load(std::memory_order_relaxed);
  if (p == nullptr) return make_runnable_globally(g);
  run_queue_put(p, g, true);
}

WARREN_ALWAYS_INLINE void finish_park(M *m, G *g) {
  g->since = sched.coarse_time.load(std::memory_order_relaxed);
  if (auto *unlock = g->unlock) {
    // Nobody may make it ready before it is unlocked, so a plain store is enough. release: pairs with ready().
    set_status(g, GStatus::kWaiting);
    if (WARREN_UNLIKELY(!unlock(g, g->unlock_argument))) go_on(m, g);
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

// pick() found nothing, and not because it is time to look further: a fiber that yields has its P to itself, and goes
// on. What is not in the local queue has to wait for that time anyway while there is something in it.
bool nobody_else(M *m) {
  P *p = m->p.load(std::memory_order_relaxed);
  if (p == nullptr || m->locked_g != nullptr || m->picked != nullptr) return false;
  if (p->attention.load(std::memory_order_relaxed) != 0 || p->until_fair < 0 || !p->queue.empty()) return false;
  bump(p->slices, 1u);
  m->slice_over = false;
  return true;
}

}  // namespace

M *settle_previous(M *m, G *g) {
  m->previous = nullptr;
  if (WARREN_LIKELY(m->after == After::kPark)) {
    finish_park(m, g);
    return m;
  }
  P *p = m->p.load(std::memory_order_relaxed);
  switch (m->after) {
    case After::kNothing:
    case After::kPark: break;
    case After::kYield:
      set_status(g, GStatus::kRunnable);
      if (p == nullptr) {
        make_runnable_globally(g);
      } else {
        run_queue_put(p, g, false);
      }
      break;
    case After::kPreempted:
      set_status(g, GStatus::kRunnable);
      make_runnable_globally(g);
      break;
    case After::kEnd: finish_end(m, g); break;
  }
  return m;
}

M *switch_to_loop(M *m, After after) {
  if (after == After::kYield && nobody_else(m)) return m;
  G *g = m->current;
  g->errno_kept = *m->errno_location;
  m->current = nullptr;
  if (after != After::kNothing) {
    m->previous = g;
    m->after = after;
  }
  stack_tools::leave(g->tool_stack, m->tool_stack, after == After::kEnd);
  m = warren_switch(&g->sp, m->loop_sp, m);
  stack_tools::arrive(g->tool_stack);
  m = finish_switch(m);
  *m->errno_location = g->errno_kept;
  return m;
}

WARREN_COLD M *switch_with_exceptions(M *m, After after) {
  const ExceptionState mine = *m->exceptions;
  *m->exceptions = {};
  switch (after) {
    case After::kNothing: m = switch_away<After::kNothing>(m); break;
    case After::kYield: m = switch_away<After::kYield>(m); break;
    case After::kPreempted: m = switch_away<After::kPreempted>(m); break;
    case After::kPark: m = switch_away<After::kPark>(m); break;
    case After::kEnd: m = switch_away<After::kEnd>(m); break;
  }
  *m->exceptions = mine;
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
