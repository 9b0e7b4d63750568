// Where work comes from, in this order:
//
//   timers that are due          they make fibers ready, here
//   the global queue             each 61st time before all else, so that nothing in it waits for ever
//   the local queue
//   the global queue             this P's share of it
//   the network                  without waiting
//   other Ps                     half of a ring; in the last round also their next one and their timers
//   the collector                marks a little, and looks from the beginning
//   all queues again             after this thread is counted as spinning no more: see idle.h
//   the network                  waiting, until the first timer: one thread at a time
//   sleep                        until somebody hands over a P
//
// Invariant: what a step finds is the calling M's alone. A P is given up only after everything else was in vain.
#include "scheduler/find_runnable.h"

#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"
#include "scheduler/clock.h"
#include "scheduler/idle.h"
#include "scheduler/netpoll.h"
#include "scheduler/switch.h"
#include "scheduler/world.h"

namespace warren::scheduler {

namespace {

constexpr int kStealRounds = 4;

// The owner of a P is about to run its next fiber: taking that from it would only move it to a cold cache.
constexpr uint64_t kGraceBeforeNext = 3 * kMicrosecond;

uint32_t random(M *m) {
  // xorshift: cheap, and good enough to spread thieves.
  uint32_t x = m->random;
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return m->random = x;
}

WARREN_WRITTEN_AT_START std::atomic<const IdleWork *> idle_work{nullptr};  // relaxed: set before there are threads

int p_count() { return sched.p_count.load(std::memory_order_relaxed); }  // changes while the world is stopped
P *p_number(int i) { return sched.ps[i].load(std::memory_order_relaxed); }

void run_timers(P *p) {
  if (p->timers.next() != kNever) p->timers.run(now());
}

G *from_global(P *p, uint32_t most) {
  if (sched.global_size.load(std::memory_order_relaxed) == 0) return nullptr;
  MutexLock hold(sched.lock);
  return global_get(p, most);
}

// The first of a batch; the rest goes to the global queue.
G *first_of(Batch<G> &batch) {
  G *g = batch.pop();
  inject(batch);
  return g;
}

G *from_network() {
  uint64_t last = sched.last_poll.load(std::memory_order_relaxed);
  if (!netpoll::waiters.any_hint() || last == kPolledNow) return nullptr;
  Batch<G> batch = netpoll::poll(0);
  // Not over one that has gone to sleep there meanwhile. relaxed: sysmon's hint of when to poll by itself.
  sched.last_poll.compare_exchange_strong(last, now(), std::memory_order_relaxed);
  return first_of(batch);
}

// At most half of the busy Ps' threads look at the others' queues: more only slow the working ones down.
bool start_spinning(M *m) {
  if (m->spinning) return true;
  const uint32_t busy = static_cast<uint32_t>(p_count()) - sched.idle_p_count.load(std::memory_order_relaxed);
  if (2 * sched.spinning.load(std::memory_order_relaxed) >= busy) return false;
  m->spinning = true;
  sched.spinning.fetch_add(1, std::memory_order_seq_cst);
  return true;
}

G *steal_one(P *p, P *victim, bool last_round) {
  if (last_round && victim->timers.next() != kNever) {
    victim->timers.run(now());
    if (G *g = p->queue.take(p->alone).item) return g;
  }
  if (victim->status.load(std::memory_order_relaxed) == PStatus::kIdle && victim->queue.empty()) return nullptr;
  return p->queue.steal_from(victim->queue, [last_round, victim] {
    if (!last_round) return false;
    if (victim->status.load(std::memory_order_relaxed) == PStatus::kRunning) os_calls::sleep(kGraceBeforeNext);
    return true;
  });
}

G *steal(M *m, P *p) {
  const int count = p_count();
  for (int round = 0; round < kStealRounds; ++round) {
    const int start = static_cast<int>(random(m) % static_cast<uint32_t>(count));
    for (int i = 0; i < count; ++i) {
      P *victim = p_number((start + i) % count);
      if (sched.stopping.load(std::memory_order_relaxed)) return nullptr;
      if (victim == p) continue;
      if (G *g = steal_one(p, victim, round == kStealRounds - 1)) return g;
    }
  }
  return nullptr;
}

// Gives the P up, unless there is something in the global queue after all.
G *release_unless_global(M *m, P *p) {
  MutexLock hold(sched.lock);
  if (sched.stopping.load(std::memory_order_seq_cst)) return nullptr;  // the P stays: stop_for_world() is due
  if (G *g = global_get(p, 0)) return g;
  release_p(m);
  idle_p_put(p);
  return nullptr;
}

bool any_queue_has_work() {
  if (sched.global_size.load(std::memory_order_seq_cst) != 0) return true;
  for (int i = 0; i < p_count(); ++i) {
    if (!p_number(i)->queue.empty()) return true;
  }
  return false;
}

// Does some of the collector's work, if it wants that. True: look again. The P is kept meanwhile, so who makes work finds it
// neither idle nor spinning, as one that runs a fiber; what was made while it still spun is looked at first.
bool mark_meanwhile(M *m) {
  const IdleWork *work = idle_work.load(std::memory_order_relaxed);
  const auto count = static_cast<unsigned>(p_count());
  if (work == nullptr || !work->wanted(count - sched.idle_p_count.load(std::memory_order_relaxed), count)) return false;
  if (m->spinning) {
    m->spinning = false;
    sched.spinning.fetch_sub(1, std::memory_order_seq_cst);  // the fence of idle.h
    if (any_queue_has_work()) return true;
  }
  work->do_some();
  return true;
}

uint64_t first_timer() {
  uint64_t first = kNever;
  for (int i = 0; i < p_count(); ++i) {
    const uint64_t next = p_number(i)->timers.next();
    if (next < first) first = next;
  }
  return first;
}

// Counts this thread down, and looks again at all that others may have filled meanwhile. True: it has a P and spins
// again.
bool spin_again(M *m) {
  m->spinning = false;
  sched.spinning.fetch_sub(1, std::memory_order_seq_cst);  // the fence of idle.h
  if (!any_queue_has_work() || !acquire_idle_p(m)) return false;
  m->spinning = true;
  sched.spinning.fetch_add(1, std::memory_order_seq_cst);
  return true;
}

// Sleeps in the network's poll if nobody does and there is anything to wait for. True: look again (or run `found`).
bool wait_in_poll(M *m, G *&found) {
  const uint64_t until = first_timer();
  if (!netpoll::waiters.any() && until == kNever) return false;
  if (sched.last_poll.exchange(kPolledNow, std::memory_order_seq_cst) == kPolledNow) {
    // Somebody sleeps there, for too long perhaps.
    const uint64_t theirs = sched.poll_until.load(std::memory_order_seq_cst);
    if (until != kNever && (theirs == 0 || theirs > until)) netpoll::interrupt();
    return false;
  }
  sched.poll_until.store(until == kNever ? 0 : until, std::memory_order_seq_cst);
  const uint64_t began = now();
  int64_t wait = netpoll::kForever;
  // Again: who added a timer before last_poll said so has woken nobody. Never later than poll_until, although the timer
  // that it stands for may be gone: who adds one for a later time relies on it.
  const uint64_t again = first_timer();
  const uint64_t first = again < until ? again : until;
  if (first != kNever) wait = first > began ? static_cast<int64_t>(first - began) : 0;
  // The last timer has gone: nobody else may be left to notice a deadlock (rouse_poller()).
  if (again == kNever && !netpoll::waiters.any()) wait = 0;
  m->own.rest();
  Batch<G> batch = netpoll::poll(wait);
  m->own.work();
  sched.poll_until.store(0, std::memory_order_relaxed);
  sched.last_poll.store(now(), std::memory_order_seq_cst);
  if (!acquire_idle_p(m)) {
    inject(batch);
    return false;
  }
  found = first_of(batch);
  if (found == nullptr) {
    m->spinning = true;
    sched.spinning.fetch_add(1, std::memory_order_seq_cst);
  }
  return true;
}

// nullptr: look again, with or without a P.
Found find(M *m, P *p) {
  run_timers(p);
  if (--p->until_fair < 0) {
    p->until_fair = kFairnessTick - 1;
    if (G *g = from_global(p, 1)) return {g, false};
  }
  const auto [local, inherits_slice] = p->queue.take(p->alone);
  if (local != nullptr) return {local, inherits_slice};
  if (G *g = from_global(p, 0)) return {g, false};
  if (G *g = from_network()) return {g, false};
  if (start_spinning(m)) {
    if (G *g = steal(m, p)) return {g, false};
  }
  if (mark_meanwhile(m)) return {nullptr, false};
  if (G *g = release_unless_global(m, p)) return {g, false};
  if (m->p.load(std::memory_order_relaxed) != nullptr) return {nullptr, false};
  if (m->spinning && spin_again(m)) return {nullptr, false};
  G *g = nullptr;
  if (wait_in_poll(m, g)) return {g, false};
  stop_m(m);
  return {nullptr, false};
}

void found_work(M *m) {
  if (!m->spinning) return;
  m->spinning = false;
  sched.spinning.fetch_sub(1, std::memory_order_seq_cst);
  wake_p();  // where there is work for one there may be more
}

}  // namespace

Found next_fiber(M *m) {
  for (;;) {
    if (m->ends) return {nullptr, false};
    if (m->locked_g != nullptr) {
      stop_locked_m(m);
      return {m->locked_g, false};
    }
    if (m->p.load(std::memory_order_relaxed) == nullptr && !acquire_idle_p(m)) {
      stop_m(m);
      continue;
    }
    if (sched.stopping.load(std::memory_order_seq_cst)) {
      stop_for_world(m);
      continue;
    }
    P *p = m->p.load(std::memory_order_relaxed);
    p->attention.store(0, std::memory_order_relaxed);
    Found found{m->picked, false};
    m->picked = nullptr;
    if (found.g == nullptr) found = find(m, p);
    if (found.g == nullptr) continue;
    found_work(m);
    if (found.g->locked_m != nullptr) {
      start_locked_m(m, found.g);
      continue;
    }
    return found;
  }
}

WARREN_AT_START void set_idle_work(const IdleWork *work) { idle_work.store(work, std::memory_order_relaxed); }

void wake_poller(uint64_t when) {
  if (sched.last_poll.load(std::memory_order_seq_cst) != kPolledNow) return wake_p();
  const uint64_t until = sched.poll_until.load(std::memory_order_seq_cst);
  if (until == 0 || until > when) netpoll::interrupt();
}

}  // namespace warren::scheduler
