// The one scheduler of the process: what its threads share. Callers: everything in scheduler/.
// Invariant: fields without a remark are guarded by `lock`.
#pragma once

#include "allocator/base/mutex.h"
#include "scheduler/m.h"
#include "scheduler/p.h"

#include <atomic>
#include <cstdint>

namespace warren::scheduler {

inline constexpr int kMostPs = 1024;  // as the option maxprocs
inline constexpr uint32_t kMostMs = 10000;  // as Go: who needs more has lost track of its blocking calls

// Every so many slices a P looks at the global queue and the timers first, so that fibers that keep each other
// runnable starve nobody. Go's number; a prime, so that it falls in step with nothing.
inline constexpr int32_t kFairnessTick = 61;

// Somebody sleeps in the network's poll.
inline constexpr uint64_t kPolledNow = UINT64_MAX;

// Zero until there is a run, in release builds: processes that have none pay nothing for its size.
struct Scheduler {
  Mutex lock{LockRank::kScheduler};

  Batch<G> global GUARDED_BY(lock);
  std::atomic<uint32_t> global_size{0};  // written under the lock; read without for a hint

  M *idle_ms GUARDED_BY(lock) = nullptr;
  uint32_t idle_m_count GUARDED_BY(lock) = 0;
  uint32_t m_count GUARDED_BY(lock) = 0;       // threads there are
  uint32_t fewer_ms GUARDED_BY(lock) = 0;      // than kMostMs, in tests: more end the process
  M *ended_ms GUARDED_BY(lock) = nullptr;      // of threads that have ended, for the next to be started
  uint32_t locked_waiting GUARDED_BY(lock) = 0;  // Ms that wait for their locked fiber to be made runnable
  std::atomic<M *> all_ms{nullptr};  // release: the M is complete; pairs with acquire in readers without the lock

  P *idle_ps GUARDED_BY(lock) = nullptr;
  std::atomic<uint32_t> idle_p_count{0};  // written under the lock; seq_cst readers, see wake_p()
  std::atomic<uint32_t> spinning{0};      // Ms that look for work; seq_cst, see wake_p()

  std::atomic<P *> ps[kMostPs] = {};  // written while the world is stopped
  std::atomic<int> p_count{0};        // likewise
  std::atomic<bool> stopping{false};  // a stop of the world is asked for; seq_cst against handoff_p and the loop
  int stop_wait GUARDED_BY(lock) = 0;  // Ps that have yet to stop
  std::atomic<uint32_t> stop_note{0};  // futex: 1 when stop_wait has come to 0

  std::atomic<bool> active{false};        // a run is under way; release: set up; pairs with acquire in callers
  std::atomic<uint32_t> generation{0};    // of the run
  std::atomic<bool> main_ended{false};    // by wr_end_fiber
  std::atomic<uint32_t> waiting_thread{0};  // the kernel's id of the thread that called wr_run
  std::atomic<uint64_t> last_id{0};
  std::atomic<int64_t> live_elsewhere{0};  // part of the fiber count that belongs to no P

  std::atomic<uint64_t> coarse_time{0};  // sysmon's clock, at most 10 ms old while anything runs
  std::atomic<uint64_t> last_poll{0};    // when the network was polled, or kPolledNow
  std::atomic<uint64_t> poll_until{0};   // until when; 0: without end

  std::atomic<uint32_t> sysmon_note{0};      // futex: 1 wakes sysmon
  std::atomic<bool> sysmon_waiting{false};   // sleeps until woken
};

extern Scheduler sched;


}  // namespace warren::scheduler
