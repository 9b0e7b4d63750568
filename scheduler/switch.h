// From one fiber to the next. Callers: park.cc, fiber.cc, the schedule loop.
//
// Where the local queue has another fiber, the switch goes straight there; else to the M's own stack and its
// schedule loop. Either way what is to become of the fiber left behind (put into a queue, unlock, free) happens on the
// other side, when its stack is saved and nobody runs on it: finish_switch(). Three things need not wait for that: with
// one P, a yield's way into the queue and a park; and the end of a fiber (HACKING.md says why).
// Invariant: the M is in the runtime during a switch, so its P stays.
#pragma once

#include "allocator/base/annotations.h"
#include "scheduler/g_status.h"
#include "scheduler/m.h"
#include "scheduler/p.h"
#include "scheduler/stack_tools.h"

namespace warren::scheduler {

// What becomes of a fiber that was left, on the other side of the switch. Returns the M, so that who calls need not keep it in
// a register that is saved for that alone; for the same reason errno is kept in the G.
M *settle_previous(M *m, G *g);

// To be called first thing wherever a switch can arrive.
WARREN_ALWAYS_INLINE M *finish_switch(M *m) {
  G *g = m->previous;
  return g != nullptr ? settle_previous(m, g) : m;
}

// The schedule loop's: runs `g` on this thread until something is to be decided there again.
void execute(M *m, G *g, bool inherits_slice);

// switch_away() for a fiber that has exceptions in flight, or handles one: they leave the thread, which is clean for
// the next, and are there again when it goes on.
M *switch_with_exceptions(M *m, After after);

// The fiber to go straight to; nullptr: the schedule loop is to look.
template <bool alone>
WARREN_ALWAYS_INLINE G *pick(M *m, P *p) {
  if (WARREN_UNLIKELY(m->locked_g != nullptr)) return nullptr;
  if (WARREN_UNLIKELY(p->attention.load(std::memory_order_relaxed) != 0)) return nullptr;  // a hint: seen next time
  if (WARREN_UNLIKELY(--p->until_fair < 0)) return nullptr;
  G *g = p->queue.take_next(alone);
  if (g == nullptr) {
    g = p->queue.take_first(alone);
    if (WARREN_UNLIKELY(g == nullptr)) return nullptr;
    bump(p->slices, 1u);
  }
  if (WARREN_LIKELY(g->locked_m == nullptr)) return g;
  m->picked = g;
  return nullptr;
}

WARREN_ALWAYS_INLINE void begin(M *m, G *g) {
  set_status(g, GStatus::kRunning);
  g->m.store(m, std::memory_order_relaxed);
  m->current = g;
  m->slice_over = false;
}

// switch_away() where pick() found nothing: to the schedule loop. Or back at once, if the fiber yields, and would be
// what the loop finds.
M *switch_to_loop(M *m, After after);

// switch_away() where it is known whether the P is the only one.
template <After after, bool alone>
WARREN_ALWAYS_INLINE M *switch_away_on(M *m, P *p) {
  if (WARREN_UNLIKELY(m->exceptions->any())) return switch_with_exceptions(m, after);
  G *next = pick<alone>(m, p);
  if (WARREN_UNLIKELY(next == nullptr)) return switch_to_loop(m, after);
  G *g = m->current;
  g->errno_kept = *m->errno_location;
  begin(m, next);
  if (after == After::kNothing && WARREN_UNLIKELY(next == g)) return m;  // made ready by its own unlock
  // The only P's queue is nobody else's: the fiber may go there while its stack is still in use.
  if (after == After::kYield && alone && WARREN_LIKELY(p->queue.put_if_room(g))) {
    set_status(g, GStatus::kRunnable);
  } else if (after != After::kNothing) {
    m->previous = g;
    m->after = after;
  }
  stack_tools::leave(g->tool_stack, next->tool_stack, after == After::kEnd);
  m = warren_switch(&g->sp, next->sp, m);
  stack_tools::arrive(g->tool_stack);
  m = finish_switch(m);
  *m->errno_location = m->current->errno_kept;
  return m;
}

// Leaves the running fiber, which has ended: it is in its P's list of free ones already.
[[noreturn]] WARREN_ALWAYS_INLINE void leave_for_good(M *m) {
  P *p = m->p.load(std::memory_order_relaxed);
  if (WARREN_UNLIKELY(m->exceptions->any())) *m->exceptions = {};
  G *next = p->alone ? pick<true>(m, p) : pick<false>(m, p);
  if (WARREN_UNLIKELY(next == nullptr)) {
    switch_to_loop(m, After::kNothing);
    __builtin_unreachable();
  }
  begin(m, next);
  warren_switch_for_good(next->sp, m);
}

// Leaves the running fiber; returns when it goes on, with the M it then runs on. kNothing: somebody has it already, or
// will.
template <After after>
WARREN_ALWAYS_INLINE M *switch_away(M *m) {
  P *p = m->p.load(std::memory_order_relaxed);
  if (WARREN_LIKELY(p != nullptr)) return p->alone ? switch_away_on<after, true>(m, p) : switch_away_on<after, false>(m, p);
  return WARREN_UNLIKELY(m->exceptions->any()) ? switch_with_exceptions(m, after) : switch_to_loop(m, after);
}

}  // namespace warren::scheduler
