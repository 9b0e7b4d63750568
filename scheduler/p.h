// P: the right to run fibers, and what goes with it: a run queue, free fibers, timers. There are max_procs of them.
// Callers: everything in scheduler/. Invariant: a running P belongs to one M, which alone touches the fields that are
// not marked shared; an idle or stopped one belongs to who holds Scheduler::lock.
#pragma once

#include "scheduler/g.h"
#include "scheduler/run_queue.h"
#include "scheduler/timer_heap.h"

#include <atomic>
#include <cstdint>

namespace warren::scheduler {

struct M;

enum class PStatus : uint8_t { kIdle, kRunning, kStopped, kDead };

struct alignas(128) P {
  RunQueue<G> queue;                      // shared with thieves
  int32_t until_fair = 0;           // counts slices down, on the fast path and in the loop: below 0 the loop looks further
  std::atomic<uint32_t> slices{0};  // shared with sysmon: changes when a slice begins; owner adds without exchange
  std::atomic<uint32_t> blocking_calls{0};  // shared with sysmon: likewise for wr_enter_blocking
  std::atomic<uint32_t> attention{0};     // shared: the fast path is to go to the schedule loop
  bool alone = false;                     // the only P; changes while the world is stopped
  std::atomic<PStatus> status{PStatus::kIdle};  // shared: written by the owner
  std::atomic<M *> m{nullptr};            // shared with take_p.cc and sysmon; release and acquire: the M is complete
  uint32_t id = 0;
  uint64_t next_id = 0, last_id = 0;      // of fibers, taken in batches
  Batch<G> free;                          // dead fibers with stacks of the default size
  std::atomic<int64_t> live{0};           // shared with wr_fiber_count: started here less ended here
  TimerHeap timers;                       // shared, has its own lock
  P *next_idle = nullptr;                 // under Scheduler::lock
  // sysmon's
  uint32_t seen_slices = 0, seen_blocking_calls = 0;
  uint64_t seen_slices_at = 0, seen_blocking_at = 0;
  bool asked = false;
};

// Adds to a counter that only the caller writes.
template <class Number>
inline void bump(std::atomic<Number> &counter, Number by) {
  counter.store(static_cast<Number>(counter.load(std::memory_order_relaxed) + by), std::memory_order_relaxed);
}

}  // namespace warren::scheduler
