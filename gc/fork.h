// What the collector does around fork. The program is stopped for a moment, so that no thread is in the middle of a
// change; then all locks of the collector's heap are taken, so that none begins one, and the program runs on. It
// must: libc takes locks of its own before it forks (stdio's, name services'), and so do handlers of the program's,
// and a stopped thread may have them. A cycle that is marking goes on in the parent and is dropped in the child,
// which has no thread for it yet. Where the program cannot be stopped, threads may be in the middle of something all the same: then
// the child puts every span into the list it belongs to by what it finds on it.
// Caller: preload/start.cc, before the program can register handlers of its own; cycle.cc, in programs without that.
// Invariant: in the child every lock is free, every span swept or whole, and the next cycle begins from nothing.
#pragma once

namespace warren::gc::fork_handlers {

void install_for_collector();  // again: nothing

// For rooted memory, which there is without the collector as well. Called before the world's handlers are registered,
// so that nobody stops the world while these wait.
void install_for_rooted_memory();

}  // namespace warren::gc::fork_handlers
