// Caller: start.cc, when the library is loaded. Invariant: costs two stores, whatever the program does later.
#pragma once

namespace warren::fiber_roots {

void install();

}  // namespace warren::fiber_roots
