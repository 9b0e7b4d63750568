// What the heap's locks and caches do around fork.
// Callers: preload/start.cc installs it before any other library's constructor has run, so that these
// handlers lock last and unlock first: other handlers may allocate on their side of the fork.
// Invariant: in the child every lock is free, and every block that no dead thread was using can be allocated again.
#pragma once

namespace warren::fork_handlers {

void install();

// After all other handlers of this library, so that it locks first: libc's list of streams, which fork takes anyway, when the
// handlers have run. fflush(nullptr) has it, and waits for a stream whose reader is in malloc: were fork to wait for it with one
// of our locks taken, nobody would ever go on.
void install_last();

}  // namespace warren::fork_handlers
