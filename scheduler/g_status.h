// The only writers of G::status, but for the two exchanges by which park() and an early ready() meet (switch.cc,
// park.cc).
// Callers: everything in scheduler/. Invariant: debug builds stop at a change that g.h does not allow.
#pragma once

#include "allocator/base/check.h"
#include "scheduler/g.h"

namespace warren::scheduler {

constexpr bool valid_transition(GStatus from, GStatus to) {
  switch (to) {
    case GStatus::kDead: return from == GStatus::kRunning;
    case GStatus::kRunnable: return from != GStatus::kRunnable;
    case GStatus::kRunning: return from == GStatus::kRunnable;
    case GStatus::kReadied: return from == GStatus::kRunning;
    case GStatus::kWaiting: return from == GStatus::kRunning;
  }
  return false;
}

inline void set_status(G *g, GStatus to) {
  DCHECK(valid_transition(g->status.load(std::memory_order_relaxed), to));
  // release: everything the fiber's next owner needs. Pairs with the acquire in ready() and with the queues'.
  g->status.store(to, std::memory_order_release);
}

}  // namespace warren::scheduler
