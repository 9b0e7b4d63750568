// Registers by their names: those that a call preserves, read where one stands (what a caller's frames keep in them is nowhere
// else), and those that a signal has saved. Callers: threads.cc, mutation_protect.cc, scheduler/report.cc, inspect/heap_dump.cc.
// Invariant: inlined, so that no frame of ours lies in between.
#pragma once

#include "allocator/base/annotations.h"

#include <cstdint>
#include <ucontext.h>

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

inline uintptr_t stack_pointer(const ucontext_t &context) { return static_cast<uintptr_t>(context.uc_mcontext.gregs[REG_RSP]); }

// Of a SIGSEGV: whether it was a store that faulted.
inline bool is_store(const ucontext_t &context) {
  constexpr greg_t kWriteFault = 2;
  return (context.uc_mcontext.gregs[REG_ERR] & kWriteFault) != 0;
}

}  // namespace warren::gc
