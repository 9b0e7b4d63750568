// The blocks that nothing leads to, sorted out: which of them are leaks by themselves (direct), which are only held by
// those (indirect), and where each kind was allocated.
//
// Direct is a block that no other leak leads to. In a ring of blocks each leads to all: one stands for the ring. Caller:
// leak_report.cc, in a copy of the process, after reach::finish(). Invariant: each lost block is in one group as a direct or an
// indirect one, and each indirect one is held by one direct one.
#pragma once

#include "gc/paged_array.h"

#include <cstddef>
#include <cstdint>

namespace warren::inspect::leak_groups {

struct Amount {
  uint64_t blocks, bytes;

  void add(uint64_t size) {
    ++blocks;
    bytes += size;
  }
};

// Of one stack (stack_table.h; 0: unknown).
struct Group {
  uint32_t stack;
  bool suppressed;
  Amount direct, held;  // leaks allocated there, and what those hold
  Amount indirect;      // blocks allocated there that leaks hold, wherever those were; without suppressed ones
};

// Finds them all. False: no memory. `suppress` is asked once for each stack that has direct leaks.
bool find(bool (*suppress)(uint32_t stack));

gc::PagedArray<Group> &groups();
uint64_t live_blocks();

}  // namespace warren::inspect::leak_groups
