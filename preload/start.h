// What pulls start.cc out of the static library. Its constructor and destructor have no callers, so a linker would leave them
// there, and with them the roots of fibers, the handlers of fork, and what options ask for at the start and the end.
// Included by whatever a program calls first: malloc.cc, new_delete.cc, gc.cc, introspection.cc.
// Invariant: each of these refers to start.cc.
#pragma once

extern "C" __attribute__((visibility("hidden"))) const char warren_starts;

namespace warren::start {

[[gnu::used]] static const char *const reference = &warren_starts;

}  // namespace warren::start
