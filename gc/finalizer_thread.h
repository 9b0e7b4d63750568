// The thread that runs finalizers, one after the other. It is a thread of the program's like any other: finalizers
// may allocate, lock, wait, and let an exception end the process.
// Caller: the cycle. Invariant: there is at most one, and none before the first finalizer is ready.
#pragma once

namespace warren::gc::finalizer_thread {

// Finalizers are ready. Not inside the stop gate. Where no thread is to be had they wait for the next call.
void wake();

void reset_in_child();

}  // namespace warren::gc::finalizer_thread
