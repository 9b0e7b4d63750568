// Writes what was found: a block of lines for each place that leaks, the largest first, and a summary as the last line.
//
//   warren: leaked 48 bytes in 3 blocks (direct), 120 bytes in 2 blocks held by them, allocated at
//       make_node+0x1f (prog)
//       main+0x30 (prog)
//   warren: held by leaks 120 bytes in 2 blocks (indirect), allocated at
//       ...
//   warren: leaks: 48 bytes in 3 blocks (direct), 120 bytes in 2 blocks (indirect); of 70 live blocks; looked for with …
//
// Caller: leaks.cc, in a copy of the process. Invariant: one write(2) for each line, nothing else of libc.
#pragma once

#include <cstdint>

namespace warren::inspect::leak_report {

// Whether a stack's leaks are not to be shown.
bool is_suppressed(uint32_t stack);

// Returns how many blocks were reported as lost.
uint64_t write(int fd);

}  // namespace warren::inspect::leak_report
