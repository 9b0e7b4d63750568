// What the heap's locks and caches do around fork.
// Callers: preload/start.cc installs it before any other library's constructor has run, so that these
// handlers lock last and unlock first: other handlers may allocate on their side of the fork.
// Invariant: in the child every lock is free, and every block that no dead thread was using can be allocated again.
#pragma once

namespace warren::fork_handlers {

void install();

}  // namespace warren::fork_handlers
