// The option gc=collect: blocks from malloc that nothing leads to any more are freed, in a program that knows nothing of it.
//
// What cannot be reached at one moment cannot be reached later: nobody has a pointer to hand on. So the search is that
// for leaks, in a copy of the process (snapshot.h), while the program runs on; then a thread here frees what was found. It
// does so each time that memory in use has grown by `gogc` percent. A pointer counts wherever leak_roots.h says; not where a
// program encodes it, or keeps it in shared memory or in a file only: such a program is not for this option.
//
// Callers: preload/start.cc, preload/gc.cc, preload/introspection.cc. Invariant: only what the search did not reach is freed, once, by
// one thread.
#pragma once

namespace warren::inspect::reclaim {

// When the library is loaded and the option says so.
void set_up();

// The option gogc has changed: a search comes, and sets the next goal by it. Off: none comes by itself any more.
void follow_percent();

// A whole search that begins after this call, and what it found is free. Nothing where the option is off.
void collect();

}  // namespace warren::inspect::reclaim
