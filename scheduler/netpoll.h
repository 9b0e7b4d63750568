// Waiting for descriptors. Callers: find_runnable.cc and sysmon.cc poll; poll_descriptor.cc registers descriptors.
// Implemented on epoll in netpoll_epoll.cc, the only file that knows it.
// Invariant: a descriptor is reported once for each time it becomes ready (edge-triggered), with the tag it was opened
// with.
#pragma once

#include "scheduler/g.h"
#include "scheduler/run_queue.h"

#include <atomic>
#include <cstdint>

namespace warren::scheduler::netpoll {

inline constexpr int64_t kForever = -1;

bool set_up();

// In a forked child: the parent's descriptors are left to it.
void reset_in_child();

// 0 or a negative errno. Events are those of poll(2).
int open(int fd, short events, void *poll, uint32_t tag);
int close(int fd);

// Fibers made ready by what has happened. Nanoseconds to wait: 0, kForever, or a time.
Batch<G> poll(int64_t wait);

// Ends a poll() that waits.
void interrupt();

// Fibers that wait for descriptors: who sleeps last must sleep in poll().
extern uint32_t generation;  // another in each child of fork
extern std::atomic<uint32_t> waiters;  // relaxed: the fence in find_runnable orders it

}  // namespace warren::scheduler::netpoll
