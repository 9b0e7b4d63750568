// From where blocks are looked for: data of the program and its libraries, threads, the collector's objects; and which
// other memory is searched once something points to it. Caller: leaks.cc, in a copy of the process. Invariant: the
// stacks of threads that have ended are searched by nobody.
#pragma once

namespace warren::inspect::leak_roots {

// Once, in the program: asks the loader for what libc tells debuggers.
void set_up();

// In the copy, before its descriptors are closed: what the kernel keeps for epoll, and will give back.
void note_kernel_words();

// Gives all of it to reach. False: the mappings are not to be had.
bool scan();

}  // namespace warren::inspect::leak_roots
