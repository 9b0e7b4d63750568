// Where each live block was allocated: for every place in the heap where a block can start, the number of a stack and
// the size that was asked for. Callers: the heap's slow paths by way of note(), leak_groups.cc. Costs eight bytes for
// each block, and nothing when a block is freed: what it says of a place is true while a block lives there. Invariant:
// an entry is written by the thread that has just allocated the block, before anybody else knows it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::inspect::block_origins {

// Once, when the heap is set up. False: no address space; then nothing is known of any block.
bool set_up();

// For a block that was just allocated. Zeroes it as well: what an earlier block has left there would keep others alive.
void note(void *block, size_t size);

struct Origin {
  uint32_t stack;  // of stack_table; 0: unknown
  uint32_t size;   // 0: unknown, or more than fits
};
Origin of(uintptr_t block);

// Where the table lies.
void for_each_own_range(void (*visit)(uintptr_t low, uintptr_t high, void *context), void *context);

}  // namespace warren::inspect::block_origins
