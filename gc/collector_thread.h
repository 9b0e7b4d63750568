// The thread that carries out cycles, and those who ask for one.
// Callers: cycle.cc. Invariant: there is at most one such thread, and none before the first cycle is wanted.
#pragma once

namespace warren::gc::collector_thread {

// A cycle is due. Does not wait for it.
void ask();

// Whether that cycle, or one that somebody waits for, is still to come or under way. A hint.
bool asked_for();

// A whole cycle that begins after this call.
void run_and_wait();

void lock_for_fork();
void unlock_after_fork(bool in_child);

}  // namespace warren::gc::collector_thread
