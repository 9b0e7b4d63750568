// Gives back what fibers that have been parked for long once used of their stacks, below where they are now.
// Caller: sysmon.cc. Invariant: done while the world is stopped, so that nobody can run the fiber meanwhile; what lies
// at and above its stack pointer stays.
#pragma once

#include <cstdint>

namespace warren::scheduler::parked_stacks {

// Does a part of what is to be done. After how many nanoseconds to come back, 0: no need until something has run.
uint64_t trim(uint64_t time);

}  // namespace warren::scheduler::parked_stacks
