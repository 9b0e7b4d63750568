// Heap dumps that the user asks for from outside: the option heap_dump=FILE writes FILE when the program ends, and FILE.1,
// FILE.2, … for each signal of the option heap_dump_signal that it gets before. Forked children, and with heap_dump_pid all
// processes but that one, have FILE.pidN instead of FILE.
//
// A handler can stop nobody, so a thread of the collector's kind waits for the signal's word and does the work.
// Caller: preload/start.cc. Invariant: without the option there is no thread and no handler.
#pragma once

namespace warren::inspect::dump_request {

// When the library is loaded.
void install();

// When the process ends.
void at_exit();

}  // namespace warren::inspect::dump_request
