// The scheduler's clock. Callers: timers, sysmon, the schedule loop. Invariant: never goes back.
#pragma once

#include "scheduler/timer.h"

#include <ctime>

namespace warren::scheduler {

// libc's, because it reads the clock without a system call.
inline uint64_t read_clock() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

inline constexpr uint64_t kMicrosecond = 1'000;
inline constexpr uint64_t kMillisecond = 1'000'000;
inline constexpr uint64_t kSecond = 1'000'000'000;

}  // namespace warren::scheduler
