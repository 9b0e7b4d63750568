// schedtrace and scheddetail: the scheduler's state now and then, in the format of Go's. Caller: sysmon.cc.
// Invariant: nothing is stopped for it; a line is a moment's impression.
#pragma once

#include <cstdint>

namespace warren::scheduler::trace {

void print_if_due(uint64_t time);

}  // namespace warren::scheduler::trace
