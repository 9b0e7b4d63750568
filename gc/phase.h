// What the collector is doing, as the allocating threads see it.
// Callers: cache.cc and heap.cc (what a new object's colour is), specials.cc, marker.cc.
// Invariant: kMark begins and ends only while the program stands still, and no thread is inside the stop gate then: whoever reads it
// inside the gate may rely on it until it leaves. kSettle becomes kSweep while the program runs.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace warren::gc::phase {

enum class Phase : uint8_t {
  kSweep,    // nobody marks; spans may be swept
  kMark,     // new objects are black
  kSettle,   // marking is over, but finalizers and weak references are still to be seen to; nothing is swept
};

// relaxed: the stop of the program orders it; but for the step to kSweep, which is taken while the program runs.
extern std::atomic<Phase> current;

inline bool is_marking() { return current.load(std::memory_order_relaxed) == Phase::kMark; }
// acquire: pairs with the release of the cycle that has settled, before which it says whether marks are kept.
inline bool may_sweep() { return current.load(std::memory_order_acquire) == Phase::kSweep; }

// Bytes allocated black in this cycle, and those that may hold pointers. relaxed: sums.
extern std::atomic<uint64_t> black_bytes, black_scannable_bytes;
inline void note_allocated_black(size_t bytes, bool noscan) {
  black_bytes.fetch_add(bytes, std::memory_order_relaxed);
  if (!noscan) black_scannable_bytes.fetch_add(bytes, std::memory_order_relaxed);
}

}  // namespace warren::gc::phase
