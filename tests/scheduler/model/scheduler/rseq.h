// Stands in for scheduler/rseq.h in the model: between the two halves of a sequence anybody may come, and a fence ends all that
// have begun. Caller: mutex.cc, which finds this file first. Invariant: as scheduler/rseq.h promises, and no more: sequences
// also end for nothing, and fences are refused.
#pragma once

#include "tests/scheduler/model/explore.h"

#include <cstdint>

namespace warren::scheduler::restartable {

inline constexpr int kFenceWorthBits = 1;

inline uint64_t fences = 0;

inline bool once_in(uint64_t n) { return explore::random() % n == 0; }

inline bool compare_and_store(uint32_t &word, uint32_t expected, uint32_t next) {
  explore::step();
  if (word != expected) return false;
  const uint64_t before = fences;
  explore::step();
  if (fences != before || once_in(8)) return false;
  word = next;  // the last touch: what comes next may free it
  explore::step();
  return true;
}

inline bool fence() {
  explore::step();
  if (once_in(8)) return false;
  ++fences;
  explore::step();
  return true;
}

}  // namespace warren::scheduler::restartable
