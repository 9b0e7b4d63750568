// One-shot and periodic callbacks. Callers: sleep, timers and tickers, deadlines of contexts and connections.
// Implemented by the core of the scheduler (a heap per P; where no scheduler runs, one thread of its own).
// Invariant: after remove() has returned, `fire` will not begin for that add(); where it returned false, it may have
// begun. A periodic timer is pending again before its `fire` begins, so for these true does not mean that none is
// running. Of a timer that is once-only, nothing is touched after `fire` has begun: that may be its last moment.
#pragma once

#include <cstdint>

namespace warren::scheduler {

struct Timer {
  uint64_t when = 0;    // nanoseconds of now()
  uint64_t period = 0;  // 0: once
  void (*fire)(Timer *timer,
               uint64_t now) = nullptr;  // on the scheduler's stack: must not park, may ready() and try_send
  void *owner = nullptr;  // the caller's
  // The heap's: where the timer is queued. The caller clears them by value-initialisation and leaves them alone.
  void *heap = nullptr;
  uint32_t index = 0;
  uint32_t state = 0;
};

uint64_t now();  // CLOCK_MONOTONIC

void add(Timer *timer);                       // not pending now
bool remove(Timer *timer);                    // whether it was pending
bool reset(Timer *timer, uint64_t when, uint64_t period);  // whether it was pending; pending afterwards

// Whether it ends the sleep of a fiber that its run has left behind.
bool is_of_abandoned_sleep(const Timer *timer);

}  // namespace warren::scheduler
