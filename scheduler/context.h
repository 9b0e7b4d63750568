// The switch between two stacks. Callers: switch.h, switch.cc, fiber.cc, frames.cc. Defined in context_x86_64.S.
//
//   a stack that does not run, from its saved sp upwards:
//     +0   MXCSR (4 bytes), x87 control word (2), unused (2)
//     +8   r15, r14, r13, r12, rbx, rbp
//     +56  address at which it goes on
//
// Invariant: what the System V ABI has a callee keep is kept, and nothing else is: errno and exceptions in flight are
// switch.h's business.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::scheduler {

struct M;

inline constexpr size_t kSavedBytes = 64;

extern "C" {

// Saves the running stack, stores its sp in *save, goes on with the stack saved at `sp`. Returns there with `m`, the
// machine of whoever switched: the only thing that the stack that goes on may know about its thread.
M *warren_switch(void **save, void *sp, M *m);

// The same from a stack that nobody will go on with: nothing is saved.
[[noreturn]] void warren_switch_for_good(void *sp, M *m);

// Where a new fiber's stack goes on: calls warren_fiber_main with the M. Unwinders stop here.
void warren_fiber_start();
[[noreturn]] void warren_fiber_main(M *m);

// Calls function(argument) on top of the stack saved at `sp`, as if what runs there had called it: an unwinder in
// `function` sees the frames of that stack. It stays saved.
void warren_call_on_saved(void *sp, void (*function)(void *), void *argument);

}  // extern "C"

// Writes a saved stack below `top` (16-aligned) that goes on at warren_fiber_start; returns its sp.
inline void *prepare_stack(void *top, uint32_t mxcsr, uint16_t x87_control) {
  auto *word = static_cast<uint64_t *>(top);
  *--word = reinterpret_cast<uint64_t>(&warren_fiber_start);
  for (int i = 0; i < 6; ++i) *--word = 0;  // rbp = 0 ends the chain of frame pointers
  *--word = uint64_t{x87_control} << 32 | mxcsr;
  return word;
}

}  // namespace warren::scheduler
