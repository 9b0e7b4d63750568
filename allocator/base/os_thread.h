// One kernel thread of the heap's own, that libc knows nothing of.
// pthread_create would allocate, take the loader's lock, turn glibc's single-threaded shortcuts off for the whole
// program, and keep a process alive whose main thread has called pthread_exit. A bare thread does none of this; in
// return it may call no libc function but those of <string.h>, and has every signal blocked. Callers: scavenger.cc,
// gc/threads.cc. Invariant: at most one such thread lives; its stack is used again only when the kernel has said that
// it is gone.
#pragma once

#include <cstdint>

namespace warren::os_thread {

// Runs `body` on the thread. False: the last one is not quite gone, or the kernel refuses.
bool start(void (*body)());

// On that thread: whether the process has given up privileges since, which libc did without it. Then it must end: its
// stack is the program's to write to.
bool privileges_differ();

// The kernel's id of the thread, 0 when there is none: the collector must not wait for it.
uint32_t id();

// In a forked child: the thread did not come along.
void forget_in_child();

}  // namespace warren::os_thread
