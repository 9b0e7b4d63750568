// Memory that the program keeps from its forked children (MADV_DONTFORK; V8 does so with its heap), and that a copy of it would
// lack. While every thread is stopped it is lent to one fork. Caller: snapshot.cc, in the program or in the tracer, which
// shares its memory. Invariant: no lock is taken, nothing is allocated from the heap; what fork left out before it leaves out again.
#pragma once

#include <cstdint>

namespace warren::inspect::unforked {

// Before the copy is made: memory for the lists.
void prepare();

// Whether a copy has less mapped than the program.
bool is_missing(uint64_t copy);

// Lets the next fork have what that copy lacks. False: nothing of it can be had.
bool lend(uint64_t copy);
void take_back();

// Where the lists lie.
void for_each_own_range(void (*visit)(uintptr_t low, uintptr_t high, void *context), void *context);

}  // namespace warren::inspect::unforked
