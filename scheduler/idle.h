// Idle threads and idle Ps, and who is woken when there is work. Callers: everything that makes work or runs out of it.
//
// Who makes work: makes it visible; fence; looks whether anybody spins, else wakes one (wake_p). Who stops
// spinning: counts itself down; fence; looks at all queues again (find_runnable). One of the two sees the other.
// Spinning threads wake the next one when they find something, so one wake-up at a time is enough.
#pragma once

#include "allocator/base/annotations.h"
#include "scheduler/state.h"

namespace warren::scheduler {

// The calling M owns `p` from here on.
void acquire_p(M *m, P *p);
// And no longer: returns it.
P *release_p(M *m);

// An idle P, or nullptr. The M gets one if there is one.
P *idle_p_get() REQUIRES(sched.lock);
void idle_p_put(P *p) REQUIRES(sched.lock);
bool acquire_idle_p(M *m);

// Wakes one more thread to look for work, if a P is idle and nobody looks.
void wake_p();

// A thread for `p` (nullptr: for any idle one): an idle one, or a new one.
void start_m(P *p, bool spinning);

// The calling M sleeps until somebody hands it a P.
void stop_m(M *m);

// Gives up a P that its M does not need: to a thread if there is work for one.
void handoff_p(P *p);

// For the locked: the calling M sleeps until its fiber is to run; hands its P to the thread of a locked fiber.
void stop_locked_m(M *m);
void start_locked_m(M *m, G *g);

// The global queue.
void global_put(G *g) REQUIRES(sched.lock);
void global_put_batch(const Batch<G> &batch) REQUIRES(sched.lock);
// The P's share of the queue, at most `most` (0: half a ring): returns one, the rest goes to p's ring.
G *global_get(P *p, uint32_t most) REQUIRES(sched.lock);

// Queues without a P at hand, and wakes whom it takes.
void make_runnable_globally(G *g);
void inject(Batch<G> &batch);  // likewise for several

// The ring is full: half of it goes to the global queue, and g.
void run_queue_overflow(P *p, G *g);

// To the tail of p's queue, or as the one that runs next.
WARREN_ALWAYS_INLINE void run_queue_put(P *p, G *g, bool next) {
  if (next) g = p->queue.exchange_next(g, p->alone);
  if (g == nullptr || WARREN_LIKELY(p->queue.put_if_room(g))) return;
  run_queue_overflow(p, g);
}

}  // namespace warren::scheduler
