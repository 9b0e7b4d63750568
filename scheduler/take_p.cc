// See take_p.h, and m.h for the protocol.
#include "scheduler/take_p.h"

#include "allocator/base/os_calls.h"
#include "scheduler/switch.h"

namespace warren::scheduler {
namespace {

Mutex one_taker{LockRank::kTakeP};

// The M's side stores before it loads; so does this. False: a sandbox that the program has entered refuses it, and nothing can be taken
// from who does not give it up: Ms look at what is asked of them when they come into the runtime.
bool fence() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return (not_taken & kFenced) != 0 || os_calls::fence_all_threads();
}

// After the fence. The P, if it can be had.
P *take_from(M *m) REQUIRES(one_taker) {
  // acquire: pairs with the release in leave_runtime_quietly(): what the M did to its P is done.
  if (m->in_runtime.load(std::memory_order_acquire) != 0) return nullptr;
  P *p = m->p.load(std::memory_order_relaxed);  // stable if the exchange succeeds: the M has not come in since
  uint32_t asked = not_taken | kAsked;
  if (!m->taken.compare_exchange_strong(asked, not_taken | kTaken, std::memory_order_acq_rel, std::memory_order_relaxed))
    return nullptr;
  if (p != nullptr) p->m.store(nullptr, std::memory_order_relaxed);
  return p;
}

bool ask_machine(M *m) {
  uint32_t none = not_taken;
  const uint32_t asked = not_taken | kAsked;
  return m->taken.compare_exchange_strong(none, asked, std::memory_order_relaxed, std::memory_order_relaxed) ||
         none == asked;
}

}  // namespace

void prepare_taking() {
  if (!os_calls::register_remote_fences()) not_taken = kFenced;
}

void answer_request(M *m) {
  if (not_taken != kNotTaken) {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with the taker's: this M stored before it looks
    if (m->taken.load(std::memory_order_relaxed) == not_taken) return;
  }
  uint32_t asked = not_taken | kAsked;
  // acquire: pairs with the exchange in take_from(), so that the taker has read m->p.
  if (m->taken.compare_exchange_strong(asked, not_taken, std::memory_order_acq_rel, std::memory_order_acquire)) {
    m->slice_over = true;
    return;
  }
  if (asked != (not_taken | kTaken)) return;
  m->p.store(nullptr, std::memory_order_relaxed);
  m->taken.store(not_taken, std::memory_order_release);
  m->slice_over = true;
}

void leave_runtime_slow(M *m) {
  if (not_taken != kNotTaken) {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // as in answer_request()
    if (m->taken.load(std::memory_order_relaxed) == not_taken && !m->slice_over) return;
  }
  enter_runtime(m);
  if (m->slice_over) {
    m->slice_over = false;
    if (m->current != nullptr) m = switch_away<After::kPreempted>(m);
  }
  leave_runtime_quietly(m);
}

void ask(P *p) {
  if (M *m = p->m.load(std::memory_order_acquire)) ask_machine(m);
}

P *take(P *p) {
  MutexLock hold(one_taker);
  M *m = p->m.load(std::memory_order_acquire);
  if (m == nullptr || !ask_machine(m)) return nullptr;
  return fence() ? take_from(m) : nullptr;
}

void take_all(void (*taken)(P *p)) {
  MutexLock hold(one_taker);
  const int count = sched.p_count.load(std::memory_order_relaxed);
  for (int i = 0; i < count; ++i) ask(sched.ps[i].load(std::memory_order_relaxed));
  if (!fence()) return;
  for (int i = 0; i < count; ++i) {
    P *p = sched.ps[i].load(std::memory_order_relaxed);
    M *m = p->m.load(std::memory_order_acquire);
    if (m == nullptr) continue;
    if (P *had = take_from(m)) taken(had);
  }
}

void reset_taking_in_child() { one_taker.take_from_the_gone(); }

}  // namespace warren::scheduler
