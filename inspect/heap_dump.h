// A heap dump: a file that says of every live object how large it is and what its words point to, and which roots there are.
//
// The program stands still for as long as it takes to find its roots and to copy the process; the copy walks the heap and writes
// the file while the program goes on. So a dump costs a pause of some milliseconds a GiB, and for its duration the memory
// that the program changes meanwhile.
//
// Callers: the C ABI, dump_request.cc. Invariant: of the program nothing is changed, and nothing is allocated from its heap.
#pragma once

namespace warren::inspect {

// 0, or the errno of what went wrong: then there is no file, or the one that was there before. Its place is taken at the end.
// Any thread that holds no lock of the heap's; not a signal handler.
int write_heap_dump(const char *path);

}  // namespace warren::inspect
