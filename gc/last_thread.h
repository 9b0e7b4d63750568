// Ends the process as libc does when the program's last thread ends, where the main thread has ended before (pthread_exit) and threads
// of ours are left, which libc takes for the program's. Caller: preload/start.cc. Invariant: nothing happens before the main thread
// ends, and the process is not ended while a thread may be the program's.
#pragma once

namespace warren::gc::last_thread {

void install();

}  // namespace warren::gc::last_thread
