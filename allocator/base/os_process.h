// What the kernel handed the process at its start: environment and auxiliary vector.
// Read straight from the initial stack, because the heap may be needed before libc has set `environ`
// and getenv or getauxval may be interposed. Callers: options (WARREN_CONF), address_space (randomness).
// Invariant: nothing here allocates or needs libc to be initialised.
#pragma once

#include <cstdint>

namespace warren::os_process {

// The value of an environment variable as it was at exec, or nullptr. The text belongs to the stack
// of the main thread; programs that overwrite it (to set their title) do so later than the heap starts.
const char *environment(const char *name);

// An entry of the auxiliary vector (AT_SECURE, AT_RANDOM, …), 0 when absent.
uint64_t auxiliary(uint64_t type);

// Sixty-four random bits of the kernel's, the same for the whole life of the process; fixed where
// address randomisation is switched off, so that debuggers see the same addresses again.
uint64_t layout_seed();

// The kernel's id of this process, asked anew each time.
uint64_t id();

// A copy of stderr for what is written at exit: many programs close theirs before they end. Made by the first call, out of the
// way of descriptors that the program may count on; 2 where none can be had. Not by two threads at once.
int keep_stderr();

}  // namespace warren::os_process
