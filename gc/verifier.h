// gc_verify=1: at the end of marking, with the world still stopped, everything reachable is sought once more, and what the cycle
// has missed ends the process with a line that names it. Nothing of the marker's is used: no page tags, no grey buffers, no
// dirty pages, no digests; a bit table of its own.
// Caller: the cycle. Invariant: the heap and its marks are only read.
#pragma once

namespace warren::gc::verifier {

void check_marks();

}  // namespace warren::gc::verifier
