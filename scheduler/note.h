// One-shot sleep and wake-up on a futex word: 0 not woken, 1 woken. Callers: idle.cc, run.cc, sysmon.cc,
// world.cc, thread_g.cc, timer_thread.cc, kernel_threads.cc, deadlock.cc, report.cc.
// Invariant: a wake-up before the sleep is not lost. What was written before note_wake() is seen after note_sleep().
#pragma once

#include "allocator/base/os_calls.h"

#include <atomic>
#include <cstdint>

namespace warren::scheduler {

inline void note_clear(std::atomic<uint32_t> &note) { note.store(0, std::memory_order_relaxed); }

inline void note_wake(std::atomic<uint32_t> &note) {
  // release: pairs with the acquire in the sleeps.
  if (note.exchange(1, std::memory_order_release) == 0) {
    os_calls::futex_wake(reinterpret_cast<const uint32_t *>(&note), 1);
  }
}

inline void note_sleep(std::atomic<uint32_t> &note) {
  while (note.load(std::memory_order_acquire) == 0) os_calls::futex_wait(reinterpret_cast<const uint32_t *>(&note), 0);
}

// Whether it was woken.
inline bool note_sleep_for(std::atomic<uint32_t> &note, uint64_t nanoseconds) {
  if (note.load(std::memory_order_acquire) != 0) return true;
  os_calls::futex_wait_for(reinterpret_cast<const uint32_t *>(&note), 0, nanoseconds);
  return note.load(std::memory_order_acquire) != 0;
}

}  // namespace warren::scheduler
