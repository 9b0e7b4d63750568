// The figures by which the page heap decides, each with what other values did.
// Caller: page_heap.cc. Invariant: any values are right, but not as fast or as small.
#pragma once

#include "allocator/base/units.h"

namespace warren::page_heap {

// A growth is this part of the arena, for fewer and larger mappings, up to kMaxGrowth. More: address
// space that counts against limits before it is used.
inline constexpr uint32_t kGrowthPart = 8;
inline constexpr PageCount kMaxGrowth = PageCount::covering(size_t{64} << 20);

// Each move leaves a mapping that merges with no other; the kernel allows 65530 of them.
inline constexpr uint32_t kMaxMoves = 8192;

// So much must lie warm and free for the scavenger to be woken, and an eighth of what is in use. More: stays
// with a process that has gone to sleep. Less: a thread for programs that have little to give, and for small ones that
// have put themselves into a sandbox where making a thread is death.
inline constexpr uint64_t kWakePages = PageCount::covering(size_t{32} << 20).value;
inline constexpr uint64_t kWakePart = 8;

// The same above memlimit. Less: the thread comes and goes for what the program is about to use again.
inline constexpr uint64_t kWakePagesOverLimit = PageCount::covering(size_t{2} << 20).value;

// Warm runs are used with the free ones around them when the longest is this part of what is wanted. Half: large_blocks peaks 12%
// higher. A 64th: within the noise. All of them: realloc would copy into new pages where it can move.
inline constexpr uint32_t kJoinPart = 8;

// So many neighbours are looked at: a heap of single pages in turn warm and not is no place for a large block.
inline constexpr uint32_t kMostJoined = 64;

// At a limit, what other threads have in their hands is waited for: 20 us at a time, for a tenth of a second at most.
inline constexpr uint64_t kWait = 20'000;
inline constexpr int kMostWaits = 1000;

// Handed to the kernel in one call. More: who needs them finds them gone for longer.
inline constexpr PageCount kGrowthBatch = PageCount::covering(size_t{2} << 20);

}  // namespace warren::page_heap
