// The world: all threads of the process, which the collector can stop, start again, and search for roots.
//
// A thread is stopped by a real-time signal that nobody else uses; its handler leaves the registers on the stack and
// waits until the world is started. Threads are found in /proc/self/task, so those that were made around
// pthread_create, or before this library was loaded, are stopped like all others, and pthread_create is left alone.
//
// Callers: the collector, inspect/. preload/start.cc installs the fork handlers; the scheduler tells of its stacks.
// Invariant: before set_up() the process has no handler, no thread and no table of ours. Between stop() and start() no
// thread but the caller, the collector's and the scavenger's executes an instruction of the program.
#pragma once

#include "allocator/base/stop_gate.h"

#include <cstddef>
#include <cstdint>

namespace warren::gc {

// A range of memory in which each aligned word may be a pointer.
using VisitRange = void (*)(uintptr_t low, uintptr_t high, void *context);

namespace world {

// At the first use of the collector; any number of times, from any thread. False: no signal is free.
bool set_up();

// Stops the world. False: that cannot be done (no /proc, no descriptor, no signal to be queued, no memory), or a thread has not
// come for `longest` nanoseconds; nothing is stopped then. What a stopped thread may hold, be it the heap's locks, stdio's or
// the loader's, stays locked until start().
inline constexpr uint64_t kHoweverLong = ~uint64_t{0};
bool stop(uint64_t longest = kHoweverLong);

// Until the next stop the world runs for as long as it stood still, or, when that is given, for `least_run` nanoseconds.
void start();
void start(uint64_t least_run);
bool stopped();

// Between stop() and start(): lets the threads go at once; nobody else stops them before start(). For fork.
void let_run();

// Only between stop() and start(), by the thread that stopped: every range that holds roots of threads. Stacks from 128 bytes
// below the stack pointer, registers, thread-local storage, values of pthread_setspecific. The caller's too, unless
// it is one of the collector's threads.
void for_each_root_range(VisitRange visit, void *context);

// Those of threads only, with the kernel's id of the thread; for_each_root_range adds the parked fibers' to them.
using VisitThreadRange = void (*)(uint32_t thread, uintptr_t low, uintptr_t high, void *context);
void for_each_thread_range(VisitThreadRange visit, void *context);

// The stacks of parked fibers alone; in a running world too.
void for_each_parked_stack(VisitRange visit, void *context);

// In a stopped world: the thread pointer of each stopped thread, and the caller's.
void for_each_thread_pointer(void (*visit)(uintptr_t thread_pointer, void *context), void *context);

// Threads of the program, the caller included; the collector's and the scavenger's are not.
size_t thread_count();

// A thread that stop() leaves alone and that has no roots. It blocks all signals. False: none to be had.
bool start_collector_thread(void (*body)(void *), void *argument, const char *name);

// Whether the caller is such a thread.
bool on_collector_thread();

// Stacks that threads run on which are not their own. bounds_of: whether `sp` is on one, and which. bounds_of_thread: whether a
// thread runs a fiber, and on which of them that began. for_each_parked: what is in use of the stacks of fibers that do not run, and
// their closures. Called in a stopped world: none may take a lock.
struct FiberStacks {
  bool (*bounds_of)(uintptr_t sp, uintptr_t *low, uintptr_t *high);
  bool (*bounds_of_thread)(uintptr_t thread_pointer, uintptr_t *low, uintptr_t *high);
  void (*for_each_parked)(VisitRange visit, void *context);
  // The stacks alone, in a running world too: what is in use changes then, but stays readable.
  void (*for_each_parked_stack)(VisitRange visit, void *context);
};
void set_fiber_stacks(const FiberStacks *stacks);  // must stay; nullptr: none any more
const FiberStacks *fiber_stacks();

// For fork, called before any other library's handlers are registered but after the heap's.
void install_fork_handlers();

// For threads of the program's that the collector makes: blocks all signals but faults and the one that stops the world.
void block_signals_but_the_stop();

// Between these a thread is not stopped: whoever stops the world waits for it. Nests. See allocator/base/stop_gate.h.
inline void enter_no_stop() { stop_gate::enter(); }
inline void leave_no_stop() { stop_gate::leave(); }

}  // namespace world
}  // namespace warren::gc
