// The registers that a call preserves, read where one stands: what a caller's frames keep in them is nowhere else.
// Callers: threads.cc, inspect/heap_dump.cc. Invariant: inlined, so that no frame of ours lies in between.
#pragma once

#include "allocator/base/annotations.h"

#include <cstdint>

namespace warren::gc {

using PreservedRegisters = uintptr_t[6];

WARREN_ALWAYS_INLINE void read_preserved(PreservedRegisters &registers) {
  asm volatile(
      "movq %%rbx, 0(%0)\n\tmovq %%rbp, 8(%0)\n\tmovq %%r12, 16(%0)\n\t"
      "movq %%r13, 24(%0)\n\tmovq %%r14, 32(%0)\n\tmovq %%r15, 40(%0)"
      :
      : "r"(registers)
      : "memory");
}

}  // namespace warren::gc
