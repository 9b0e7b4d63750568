// See idle.h.
#include "scheduler/idle.h"

#include "allocator/base/check.h"
#include "allocator/base/layout.h"
#include "include/warren/scheduler_core.h"
#include "scheduler/deadlock.h"
#include "scheduler/find_runnable.h"
#include "scheduler/note.h"
#include "scheduler/switch.h"
#include "scheduler/kernel_threads.h"
#include "scheduler/world.h"

#include <cstdio>

namespace warren::scheduler {

constinit WARREN_LARGE_TABLE_WITH_LOCKS Scheduler sched;
WARREN_SHOW_ADDRESS("sched", &sched);

void acquire_p(M *m, P *p) {
  DCHECK(m->p.load(std::memory_order_relaxed) == nullptr);
  // relaxed: the protocol of m.h orders them for takers.
  p->status.store(PStatus::kRunning, std::memory_order_relaxed);
  p->m.store(m, std::memory_order_release);  // a new M is complete; pairs with the acquire in sysmon and in take_p.cc
  m->p.store(p, std::memory_order_relaxed);
}

P *release_p(M *m) {
  P *p = m->p.load(std::memory_order_relaxed);
  p->m.store(nullptr, std::memory_order_relaxed);
  m->p.store(nullptr, std::memory_order_relaxed);
  return p;
}

P *idle_p_get() {
  P *p = sched.idle_ps;
  if (p == nullptr) return nullptr;
  sched.idle_ps = p->next_idle;
  sched.idle_p_count.fetch_sub(1, std::memory_order_seq_cst);  // see wake_p()
  // relaxed: sysmon looks again under the lock before it sleeps.
  if (sched.sysmon_waiting.load(std::memory_order_relaxed)) {
    sched.sysmon_waiting.store(false, std::memory_order_relaxed);
    note_wake(sched.sysmon_note);
  }
  return p;
}

void idle_p_put(P *p) {
  p->status.store(PStatus::kIdle, std::memory_order_relaxed);
  p->m.store(nullptr, std::memory_order_relaxed);
  p->next_idle = sched.idle_ps;
  sched.idle_ps = p;
  sched.idle_p_count.fetch_add(1, std::memory_order_seq_cst);
}

// Not inlined: who calls it may switch afterwards, and the lock reads where the thread's block lies.
WARREN_NOINLINE bool acquire_idle_p(M *m) {
  P *p;
  {
    MutexLock hold(sched.lock);
    p = idle_p_get();
  }
  if (p == nullptr) return false;
  acquire_p(m, p);
  return true;
}

void wake_p() {
  // The caller has made work visible and then passed a fence (an exchange, a lock). seq_cst: of this look and the last
  // look of a thread that stops spinning, one sees what the other did.
  if (sched.idle_p_count.load(std::memory_order_seq_cst) == 0) return;
  uint32_t none = 0;
  if (sched.spinning.load(std::memory_order_seq_cst) != 0 ||
      !sched.spinning.compare_exchange_strong(none, 1, std::memory_order_seq_cst, std::memory_order_relaxed)) {
    return;
  }
  start_m(nullptr, true);
}

namespace {

[[noreturn]] WARREN_COLD void end_by_exhaustion(uint32_t count) {
  char text[96];
  snprintf(text, sizeof text, "thread exhaustion: %u threads are in blocking calls, or compute, and one more is needed", count);
  wr_fatal_error(text);
}

}  // namespace

void start_m(P *p, bool spinning) {
  M *m;
  uint32_t too_many = 0;
  {
    MutexLock hold(sched.lock);
    if (p == nullptr) p = idle_p_get();
    if (p == nullptr) {
      if (spinning) sched.spinning.fetch_sub(1, std::memory_order_seq_cst);
      return;
    }
    m = sched.idle_ms;
    if (m != nullptr) {
      sched.idle_ms = m->next_idle;
      --sched.idle_m_count;
    } else {
      if (sched.m_count >= kMostMs - sched.fewer_ms) too_many = sched.m_count;
      ++sched.m_count;  // before it runs: it is no sign of a deadlock that it does not yet
    }
  }
  if (WARREN_UNLIKELY(too_many != 0)) end_by_exhaustion(too_many);
  if (m == nullptr) {
    if (threads::start_machine(p, spinning)) return;
    // No thread to be had. Those there are must do: the P waits for one of them.
    if (spinning) sched.spinning.fetch_sub(1, std::memory_order_seq_cst);
    MutexLock hold(sched.lock);
    --sched.m_count;
    if (sched.stopping.load(std::memory_order_seq_cst)) return note_stopped(p);
    idle_p_put(p);
    return;
  }
  m->spinning = spinning;
  m->next_p = p;
  note_wake(m->note);
}

void stop_m(M *m) {
  DCHECK(m->p.load(std::memory_order_relaxed) == nullptr);
  DCHECK(!m->spinning);
  bool deadlock, poller;
  {
    MutexLock hold(sched.lock);
    m->next_idle = sched.idle_ms;
    sched.idle_ms = m;
    ++sched.idle_m_count;
    deadlock = nobody_runs();
    poller = only_a_poller_runs();
  }
  if (deadlock) report_deadlock();
  if (poller) rouse_poller();
  m->own.rest();
  note_sleep(m->note);
  m->own.work();
  note_clear(m->note);
  acquire_p(m, m->next_p);
  m->next_p = nullptr;
}

void stop_locked_m(M *m) {
  if (m->p.load(std::memory_order_relaxed) != nullptr) handoff_p(release_p(m));
  bool deadlock, poller;
  {
    MutexLock hold(sched.lock);
    ++sched.locked_waiting;
    deadlock = nobody_runs();
    poller = only_a_poller_runs();
  }
  if (deadlock) report_deadlock();
  if (poller) rouse_poller();
  note_sleep(m->note);
  note_clear(m->note);
  acquire_p(m, m->next_p);
  m->next_p = nullptr;
}

void start_locked_m(M *m, G *g) {
  M *other = g->locked_m;
  {
    // Before it wakes: it is not to look as if nobody ran.
    MutexLock hold(sched.lock);
    --sched.locked_waiting;
  }
  other->next_p = release_p(m);
  note_wake(other->note);
  stop_m(m);
}

void handoff_p(P *p) {
  p->m.store(nullptr, std::memory_order_relaxed);
  if (!p->queue.empty() || sched.global_size.load(std::memory_order_relaxed) != 0) return start_m(p, false);
  // Nobody looks for work and nobody is idle: somebody should look.
  uint32_t none = 0;
  if (sched.spinning.load(std::memory_order_seq_cst) + sched.idle_p_count.load(std::memory_order_seq_cst) == 0 &&
      sched.spinning.compare_exchange_strong(none, 1, std::memory_order_seq_cst, std::memory_order_relaxed)) {
    return start_m(p, true);
  }
  bool start = false;
  {
    MutexLock hold(sched.lock);
    if (sched.stopping.load(std::memory_order_seq_cst)) return note_stopped(p);
    if (!sched.global.empty()) {
      start = true;
    } else if (sched.idle_p_count.load(std::memory_order_relaxed) + 1 ==
                   static_cast<uint32_t>(sched.p_count.load(std::memory_order_relaxed)) &&
               sched.last_poll.load(std::memory_order_relaxed) != kPolledNow) {
      start = true;  // the last P: somebody has to sleep in the network's poll, or to find that all sleep
    } else {
      idle_p_put(p);
    }
  }
  if (start) return start_m(p, false);
  const uint64_t next = p->timers.next();
  if (next != kNever) wake_poller(next);
}

void global_put(G *g) {
  sched.global.push(g);
  sched.global_size.store(sched.global.count, std::memory_order_relaxed);
}

void global_put_batch(const Batch<G> &batch) {
  sched.global.append(batch);
  sched.global_size.store(sched.global.count, std::memory_order_relaxed);
}

G *global_get(P *p, uint32_t most) {
  const uint32_t size = sched.global.count;
  if (size == 0) return nullptr;
  uint32_t share = size / static_cast<uint32_t>(sched.p_count.load(std::memory_order_relaxed)) + 1;
  if (share > RunQueue<G>::kSlots / 2) share = RunQueue<G>::kSlots / 2;
  if (most != 0 && share > most) share = most;
  const uint32_t generation = sched.generation.load(std::memory_order_relaxed);
  G *first = nullptr;
  for (; share != 0; --share) {
    G *g = sched.global.pop();
    if (g == nullptr) break;
    if (g->generation != generation) continue;  // of a run that has ended
    if (first == nullptr) {
      first = g;
      continue;
    }
    Batch<G> overflow;
    p->queue.put(g, overflow);  // its ring is empty but for what came here before
    sched.global.append(overflow);
  }
  sched.global_size.store(sched.global.count, std::memory_order_relaxed);
  return first;
}

void make_runnable_globally(G *g) {
  {
    MutexLock hold(sched.lock);
    global_put(g);
  }
  wake_p();  // the lock is the fence
}

void inject(Batch<G> &batch) {
  if (batch.empty()) return;
  uint32_t wake = batch.count;
  {
    MutexLock hold(sched.lock);
    global_put_batch(batch);
    const uint32_t idle = sched.idle_p_count.load(std::memory_order_relaxed);
    if (wake > idle) wake = idle;
  }
  batch = {};
  for (; wake != 0; --wake) start_m(nullptr, false);
}

WARREN_COLD void run_queue_overflow(P *p, G *g) {
  Batch<G> overflow;
  p->queue.put(g, overflow);
  if (overflow.empty()) return;
  MutexLock hold(sched.lock);
  global_put_batch(overflow);
}

}  // namespace warren::scheduler
