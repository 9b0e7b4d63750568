// Writes which fibers are stuck: a summary, then a block of lines for each place where they
// wait, the largest first.
//
//   warren: stuck: 3 of 7 fibers can never be woken; looked for with the program stopped for 0.21 ms
//   warren: stuck: 2 fibers at
//       receive_for_ever+0x1f (prog)
//       main+0x30 (prog)
//     fiber 5 [chan receive, 12 s] worker
//     fiber 6 [chan receive, 12 s] worker
//
// Caller: stuck_fibers.cc, in a copy of the process. Invariant: the order of lines follows from the fibers' ids and
// stacks.
#pragma once

#include "gc/paged_array.h"
#include "scheduler/g.h"

#include <cstddef>
#include <cstdint>

namespace warren::inspect::stuck_report {

struct Fiber {
  const scheduler::G *g;
  uint32_t stack;  // stack_table.h; the report's
};
using Fibers = gc::PagedArray<Fiber>;

// `live`: how many fibers there are. False: no memory.
bool write(int fd, Fibers &stuck, size_t live);

}  // namespace warren::inspect::stuck_report
