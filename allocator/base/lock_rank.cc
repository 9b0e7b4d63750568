// The debug checker of lock order. See lock_rank.h for the order itself.
#include "allocator/base/lock_rank.h"

#include "allocator/base/fatal.h"
#include "allocator/base/tls.h"

namespace warren::lock_rank {
namespace {

// One counter a rank. Only this thread and its signal handlers touch it.
WARREN_TLS uint64_t held = 0;

constexpr uint64_t unit(LockRank rank) { return uint64_t{1} << (kBitsPerRank * (static_cast<unsigned>(rank) - 1)); }

}  // namespace

void check_acquire(LockRank rank) {
  if (held / unit(rank) != 0) fatal::lock_order(name(rank), held);
}

void note_acquired(LockRank rank) { held += unit(rank); }
void note_released(LockRank rank) { held -= unit(rank); }

const char *name(LockRank rank) {
  switch (rank) {
    case LockRank::kNotKept: return "not kept";
    case LockRank::kFiberWorld: return "fiber world";
    case LockRank::kBackground: return "background";
    case LockRank::kCycle: return "cycle";
    case LockRank::kSpecials: return "specials";
    case LockRank::kCollectCaches: return "collector's caches";
    case LockRank::kSpanSet: return "span set";
    case LockRank::kPacing: return "pacing";
    case LockRank::kRootedMemory: return "rooted memory";
    case LockRank::kMarkWork: return "mark work";
    case LockRank::kWorld: return "world";
    case LockRank::kTakeP: return "take P";
    case LockRank::kPollTable: return "poll table";
    case LockRank::kPoll: return "poll";
    case LockRank::kTimers: return "timers";
    case LockRank::kScheduler: return "scheduler";
    case LockRank::kStacks: return "stacks";
    case LockRank::kSamples: return "samples";
    case LockRank::kStackTable: return "stack table";
    case LockRank::kHeapInit: return "heap init";
    case LockRank::kCacheRegistry: return "cache registry";
    case LockRank::kCentral: return "central";
    case LockRank::kPageHeap: return "page heap";
    case LockRank::kMetadata: return "metadata";
    case LockRank::kProtection: return "protection";
  }
  return "unknown";
}

}  // namespace warren::lock_rank
