// What the collector does around fork.
// The parent's program is stopped for the length of the fork, so that the child does not inherit a heap in the middle of a
// change; a cycle that is marking goes on in the parent and is dropped in the child, which has no thread for it yet.
// Caller: cycle.cc, at the collector's first use. Invariant: in the child every lock is free, every span swept or whole, and the next
// cycle begins from nothing.
#pragma once

namespace warren::gc::fork_handlers {

void install_for_collector();

}  // namespace warren::gc::fork_handlers
