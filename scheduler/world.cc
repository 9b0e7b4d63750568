// See world.h.
#include "scheduler/world.h"

#include "allocator/base/check.h"
#include "scheduler/clock.h"
#include "scheduler/idle.h"
#include "scheduler/note.h"
#include "scheduler/stack.h"
#include "scheduler/take_p.h"

#include <cstdlib>
#include <new>

namespace warren::scheduler {
namespace {

Mutex world{LockRank::kFiberWorld};

// Between two rounds of taking: long enough for a thread in the runtime to come out, short for who waits.
constexpr uint64_t kRound = 100 * kMicrosecond;

void stopped(P *p) {
  MutexLock hold(sched.lock);
  note_stopped(p);
}

P *make_p(int id) {
  void *memory = aligned_alloc(alignof(P), sizeof(P));
  CHECK(memory != nullptr);
  P *p = new (memory) P;
  p->id = static_cast<uint32_t>(id);
  p->status.store(PStatus::kStopped, std::memory_order_relaxed);
  return p;
}

// A P that is to be no more: what it holds goes to the others.
void empty_p(P *p, P *heir) {
  Batch<G> all;
  while (G *g = p->queue.take(false).item) all.push(g);
  {
    MutexLock hold(sched.lock);
    global_put_batch(all);
  }
  p->timers.move_to(heir->timers);
  if (!p->free.empty()) stacks::free(p->free, stacks::kDefaultOrder);
  p->free = {};
  p->next_id = p->last_id = 0;
  sched.live_elsewhere.fetch_add(p->live.exchange(0, std::memory_order_relaxed), std::memory_order_relaxed);
  p->status.store(PStatus::kDead, std::memory_order_relaxed);
}

void resize(int count) {
  const int before = sched.p_count.load(std::memory_order_relaxed);
  for (int i = before; i < count; ++i) {
    if (sched.ps[i].load(std::memory_order_relaxed) == nullptr) sched.ps[i].store(make_p(i), std::memory_order_release);
    sched.ps[i].load(std::memory_order_relaxed)->status.store(PStatus::kStopped, std::memory_order_relaxed);
  }
  for (int i = count; i < before; ++i) {
    empty_p(sched.ps[i].load(std::memory_order_relaxed), sched.ps[0].load(std::memory_order_relaxed));
  }
  for (int i = 0; i < count; ++i) sched.ps[i].load(std::memory_order_relaxed)->alone = count == 1;
  sched.p_count.store(count, std::memory_order_release);
}

}  // namespace

void note_stopped(P *p) {
  p->status.store(PStatus::kStopped, std::memory_order_relaxed);
  p->m.store(nullptr, std::memory_order_relaxed);
  if (--sched.stop_wait == 0) note_wake(sched.stop_note);
}

bool stop_world(uint64_t most) NO_THREAD_SAFETY_ANALYSIS {
  M *m = this_m();
  // Outside of the runtime while waiting for it: whoever holds it wants this M's P.
  if (m != nullptr) leave_runtime_quietly(m);
  world.lock();
  if (m != nullptr) enter_runtime(m);
  note_clear(sched.stop_note);
  bool all = false;
  {
    MutexLock hold(sched.lock);
    const int count = sched.p_count.load(std::memory_order_relaxed);
    sched.stop_wait = count;
    sched.stopping.store(true, std::memory_order_seq_cst);
    for (int i = 0; i < count; ++i)
      sched.ps[i].load(std::memory_order_relaxed)->attention.store(1, std::memory_order_relaxed);
    while (P *p = idle_p_get()) note_stopped(p);
    if (m != nullptr) {
      if (P *mine = m->p.load(std::memory_order_relaxed)) {
        m->p.store(nullptr, std::memory_order_relaxed);
        note_stopped(mine);
      }
    }
    all = sched.stop_wait == 0;
  }
  for (uint64_t waited = 0; !all && waited <= most; waited += kRound) {
    take_all(stopped);
    all = note_sleep_for(sched.stop_note, kRound);
  }
  return all;
}

void start_world(int count) NO_THREAD_SAFETY_ANALYSIS {
  M *m = this_m();
  resize(count);
  // Those with something to do get threads, this M the first of the others.
  P *busy = nullptr;
  {
    MutexLock hold(sched.lock);
    sched.stopping.store(false, std::memory_order_seq_cst);
    for (int i = count; i-- != 0;) {
      P *p = sched.ps[i].load(std::memory_order_relaxed);
      if (p->queue.empty()) {
        idle_p_put(p);
      } else {
        p->next_idle = busy;
        busy = p;
      }
    }
  }
  if (m != nullptr) {
    if (busy != nullptr) {
      P *p = busy;
      busy = p->next_idle;
      acquire_p(m, p);
    } else {
      acquire_idle_p(m);
    }
  }
  while (busy != nullptr) {
    P *p = busy;
    busy = p->next_idle;
    start_m(p, false);
  }
  world.unlock();
  wake_p();
}

void stop_for_world(M *m) {
  P *p = m->p.load(std::memory_order_relaxed);
  if (G *g = m->picked) {
    m->picked = nullptr;
    run_queue_put(p, g, false);
  }
  if (m->spinning) {
    m->spinning = false;
    sched.spinning.fetch_sub(1, std::memory_order_seq_cst);
  }
  release_p(m);
  stopped(p);
  stop_m(m);
}

void reset_world_in_child() { world.take_from_the_gone(); }

}  // namespace warren::scheduler
