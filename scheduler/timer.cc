// Timers and sleep. See timer.h for the contract, timer_heap.h for the heaps.
//
//   state   bit 0: somebody adds, removes or resets; a spin lock, held for one operation on a heap
//
// A run leaves its timers to the timer thread when it ends, so a heap may go idle behind the back of who adds to it:
// add() looks again.
#include "scheduler/timer.h"

#include "allocator/base/os_calls.h"
#include "include/warren/scheduler_core.h"
#include "scheduler/clock.h"
#include "scheduler/find_runnable.h"
#include "scheduler/state.h"
#include "scheduler/timer_thread.h"

namespace warren::scheduler {
namespace {

constexpr int kSpins = 60;  // as for a Mutex

// For who is off its CPU. A sleep and not a yield: under SCHED_FIFO a thread that yields never lets one of lower priority
// run. More: a late timer. Less: a system call for nothing.
constexpr uint64_t kSleepNs = 10000;

class Hold {
 public:
  explicit Hold(Timer *timer) : timer_(timer) {
    // acquire: pairs with the release below.
    for (int spin = 0; __atomic_exchange_n(&timer->state, 1, __ATOMIC_ACQUIRE) != 0; ++spin) {
      if (spin < kSpins) {
        __builtin_ia32_pause();
      } else {
        os_calls::sleep(kSleepNs);
      }
    }
  }
  ~Hold() { __atomic_store_n(&timer_->state, 0, __ATOMIC_RELEASE); }
  Hold(const Hold &) = delete;
  Hold &operator=(const Hold &) = delete;

 private:
  Timer *timer_;
};

bool run_under_way() { return sched.active.load(std::memory_order_seq_cst); }

bool remove_held(Timer *timer) {
  for (;;) {
    // acquire: pairs with the release of whoever put it there. It may move meanwhile.
    auto *heap = static_cast<TimerHeap *>(__atomic_load_n(&timer->heap, __ATOMIC_ACQUIRE));
    if (heap == nullptr) return false;
    if (heap == TimerHeap::moving()) {
      os_calls::sleep(kSleepNs);  // who moves it is between two locks, or off its CPU there
      continue;
    }
    if (heap->remove(timer)) return true;
  }
}

void add_to_thread(Timer *timer) {
  if (timer_thread::heap().add(timer)) timer_thread::wake();
}

void add_held(Timer *timer) {
  if (!run_under_way()) return add_to_thread(timer);
  const uint64_t when = timer->when;
  P *p = nullptr;
  M *m = this_m();
  if (m != nullptr) {
    enter_runtime(m);
    p = m->p.load(std::memory_order_relaxed);
  }
  if (p == nullptr) p = sched.ps[0].load(std::memory_order_relaxed);
  const bool first = p->timers.add(timer);  // its lock is the fence
  if (m != nullptr) leave_runtime_quietly(m);
  if (!run_under_way() && p->timers.remove(timer)) return add_to_thread(timer);
  if (first) wake_poller(when);
}

void end_sleep(Timer *timer, uint64_t) { ready(static_cast<G *>(timer->owner)); }

}  // namespace

bool is_of_abandoned_sleep(const Timer *timer) {
  return timer->fire == end_sleep && is_abandoned(static_cast<const G *>(timer->owner));
}

uint64_t now() { return read_clock(); }

// Without holding: it may fire, and be gone, before this returns. Nobody else knows it yet.
void add(Timer *timer) { add_held(timer); }

bool remove(Timer *timer) {
  Hold hold(timer);
  return remove_held(timer);
}

bool reset(Timer *timer, uint64_t when, uint64_t period) {
  Hold hold(timer);
  const bool pending = remove_held(timer);
  timer->when = when;
  timer->period = period;
  add_held(timer);
  return pending;
}

}  // namespace warren::scheduler

using namespace warren::scheduler;

extern "C" {

uint64_t wr_now_ns(void) { return now(); }

void wr_sleep_until_ns(uint64_t time) {
  Timer timer;
  timer.when = time;
  timer.owner = current();
  timer.fire = end_sleep;
  park(
      [](G *, void *argument) {
        add(static_cast<Timer *>(argument));
        return true;
      },
      &timer, WaitReason::kSleep);
}

void wr_sleep_ns(int64_t duration) {
  if (duration <= 0) return wr_yield();
  const uint64_t time = now();
  const uint64_t until = time + static_cast<uint64_t>(duration);
  wr_sleep_until_ns(until);
}

}  // extern "C"
