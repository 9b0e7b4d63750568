// From where blocks are looked for: data of the program and its libraries, threads, the collector's objects; and which
// other memory is searched once something points to it. Callers: leaks.cc, reclaim.cc, stuck_fibers.cc, in a
// copy of the process. Invariant: the
// stacks of threads that have ended are searched by nobody.
#pragma once

namespace warren::inspect::leak_roots {

// Once, in the program: asks the loader for what libc tells debuggers.
void set_up();

// In the copy, before its descriptors are closed: what the kernel keeps for epoll, and will give back.
void note_kernel_words();

// Gives all of it to reach. False: the mappings are not to be had.
bool scan();

// The same in two steps, without fibers: between the two the caller gives reach the stacks of those that are to be
// searched once something points there; behind them those that are searched at once.
bool read_mappings();
void scan_all_but_fibers();

}  // namespace warren::inspect::leak_roots
