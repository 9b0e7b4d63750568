// Memory that the program keeps from its forked children (MADV_DONTFORK; V8 does so with its heap), and that a copy of it would
// lack. While every thread is stopped it is lent to one fork. Callers: snapshot.cc, in the program or in the tracer, which
// shares its memory; heap_dump.cc. Invariant: no lock is taken, nothing is allocated from the heap; what fork left out before it
// leaves out again.
#pragma once

#include <atomic>
#include <cstdint>

namespace warren::inspect::unforked {

// Before the copy is made: memory for the lists. Not by two threads at once.
void prepare();

// Copies the process with all of its memory, while everybody stands still. 0: this is the copy. Else its id, or a negative errno.
// `leave`: shared by the two, 0 at first. A copy that lacks something is thrown away and another one made, so each waits until it is
// known to be the one that is wanted.
long copy_whole(std::atomic<uint32_t> &leave);

// So long it waits. Who waits for longer ends: the program was killed just then.
inline constexpr uint64_t kPatience = 30'000'000'000;

// Where the lists lie.
void for_each_own_range(void (*visit)(uintptr_t low, uintptr_t high, void *context), void *context);

}  // namespace warren::inspect::unforked
