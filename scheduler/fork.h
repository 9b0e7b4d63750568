// What is left of the scheduler in a forked child: nothing, if no run was under way. The child may start its own.
// Callers: netpoll_epoll.cc, which each run and each connection sets up, and timer_thread.cc.
// Invariant: a child that never touches the scheduler gets no thread and no descriptor of it.
#pragma once

namespace warren::scheduler::fork_handlers {

void install();  // again: nothing

}  // namespace warren::scheduler::fork_handlers
