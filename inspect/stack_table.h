// Stacks, each kept once: a number for a list of addresses, and the list for a number.
// Callers: heap_profile.cc, and whoever notes for each block where it was allocated. Stacks are never forgotten. Known ones are
// found without a lock. Invariant: a number, once given out, names the same frames for ever; 0 names none.
//
// Not for signal handlers that interrupted this very function: they get 0.
#pragma once

#include <cstdint>

namespace warren::inspect::stack_table {

// Numbers grow from 1 by 1, so that what is known of each stack may lie in an array. 0: no memory, or no frames.
uint32_t record(void *const *frames, unsigned count);

struct Frames {
  void *const *address;  // innermost first
  unsigned count;
};
Frames frames_of(uint32_t stack);

uint32_t count();  // numbers given out: they are 1 … count()

void lock_for_fork();
void unlock_after_fork(bool in_child);

}  // namespace warren::inspect::stack_table
