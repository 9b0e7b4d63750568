// Lines that the reports of searches are made of. Callers: leak_report.cc, stuck_report.cc, in a copy of the process,
// after frame_names::read(). Invariant: one write(2) for each line, nothing else of libc.
#pragma once

#include "allocator/base/log.h"

#include <cstdint>

namespace warren::inspect::report_lines {

// Ends the line and writes it.
void put(LogLine &line, int fd);

// "    function+0x12 (file)"
void write_frame(int fd, uintptr_t address);

// "0.21"
void put_milliseconds(LogLine &line, uint64_t nanoseconds);

}  // namespace warren::inspect::report_lines
