/* warren/scheduler_core.h: fibers for C11, and what the C++ face in warren/scheduler.h is built on.
 *
 * A fiber is a function with a stack of its own. Many fibers share few threads: one that waits costs
 * memory and nothing else, one that computes or sits in a system call is overtaken by others. The model is
 * Go's: wr_run starts the scheduler and the first fiber, wr_go starts more, on at most wr_max_procs() CPUs at a time.
 *
 * A fiber may go on on another thread after any call that can wait: pthread mutexes and thread-local
 * variables do not belong across such a call. errno and C++ exceptions in flight do: they travel with the fiber.
 *
 * Functions that can fail return 0 or a negative errno, unless they say otherwise. All may be called from plain threads
 * too, where they block that thread; none from signal handlers.
 */
#ifndef WARREN_SCHEDULER_CORE_H
#define WARREN_SCHEDULER_CORE_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#define WR_NORETURN [[noreturn]]
#else
#define WR_NORETURN _Noreturn
#endif

/* Where errno lies. glibc declares its own function for this such that the compiler may keep the address across any call, and after one
 * that waits it may be another thread's. So where this header is included, errno means this one. Elsewhere, read it before
 * you wait, or in a function that does not. */
int *wr_errno_location(void);
#undef errno
#define errno (*wr_errno_location())

/* Times are nanoseconds of CLOCK_MONOTONIC. As a deadline: never. */
#define WR_NEVER UINT64_MAX
uint64_t wr_now_ns(void);

/* --- fibers --- */

struct wr_fiber_options {
  size_t stack_size; /* bytes, 0 for 256 KiB; rounded up to a power of two from 64 KiB to 1 GiB. Only what is touched
                        costs memory. */
  const char *name;  /* for dumps; copied, at most 31 characters; NULL for none */
};

/* Starts the scheduler, runs main(argument) as fiber 1 and returns its result. Other fibers are then abandoned:
 * they never run again, their stacks are not unwound. What they have locked stays locked, what they wait for is for others.
 * Blocks the calling thread, which runs no fibers itself.
 * -EBUSY: a run is under way already. -EAGAIN, -ENOMEM: no thread or no memory to be had. Source: Go's main. */
int wr_run(int (*main)(void *argument), void *argument);

/* Starts a fiber that runs fn(argument) and ends when it returns. No exception may leave fn. `options` may be NULL.
 * -ENOMEM: no stack to be had; -EPERM: no run is under way; -EINVAL: a stack of more than 1 GiB. Source: Go's go. */
int wr_go(void (*fn)(void *argument), void *argument, const struct wr_fiber_options *options);

/* The same for a closure that is to live on the new fiber's stack, which spares its allocation: move(to, closure) moves it there,
 * and fn gets that address, aligned to 16. When another fiber runs it, `closure` has been moved from; after an error
 * it has not. `move` may not fail, wait, or throw. At most WR_CLOSURE_ROOM bytes; -EINVAL: more. */
#define WR_CLOSURE_ROOM 512
int wr_go_moved(void (*fn)(void *closure), void *closure, size_t size, void (*move)(void *to, void *from),
                const struct wr_fiber_options *options);

/* Lets other fibers run. Source: runtime.Gosched. On a plain thread: sched_yield. */
void wr_yield(void);

/* Yields if this fiber has had its 10 ms; two loads otherwise. For long loops without any other call: they are not
 * in anybody's way without it either, but keep a thread of their own busy. */
void wr_preempt_point(void);

/* Ends the calling fiber at once, without unwinding its stack: what must be destroyed has been. For fiber 1,
 * the run goes on until all others have ended, which is then reported as a deadlock. Source: runtime.Goexit. */
WR_NORETURN void wr_end_fiber(void);

/* 1 for main, never used twice in a run; 0 on a plain thread. */
uint64_t wr_fiber_id(void);

/* Fibers that have been started and have not ended. Source: runtime.NumGoroutine. */
size_t wr_fiber_count(void);

/* Sets how many threads run fibers at a time, n > 0, and returns what it was. The first value is the option maxprocs,
 * or the number of CPUs this process may use (affinity and cgroup quota). Source: runtime.GOMAXPROCS. */
int wr_max_procs(int n);

/* Ties the fiber to its thread, and the thread to the fiber, until as many calls of unlock. A fiber that ends
 * tied takes its thread with it. Source: runtime.LockOSThread. */
void wr_lock_os_thread(void);
void wr_unlock_os_thread(void);

/* --- waiting --- */

void wr_sleep_ns(int64_t duration); /* 0 or less: wr_yield */
void wr_sleep_until_ns(uint64_t time);

/* Around calls that may block the thread (files, name resolution, foreign locks): others get the fiber's place
 * meanwhile. Not needed for correctness: whoever blocks for more than 10 ms without it is found as well. They nest. */
void wr_enter_blocking(void);
void wr_exit_blocking(void);

/* Parks until the descriptor is ready for any of `events` (POLLIN, POLLOUT, …), and returns revents as poll(2) does.
 * -ETIMEDOUT when `deadline` comes first, -ECANCELED when wr_close_fd was called, -EBADF. */
int wr_wait_fd(int fd, short events, uint64_t deadline);

/* Wakes all that wait for this descriptor in wr_wait_fd (they return -ECANCELED), and closes it. */
int wr_close_fd(int fd);

/* --- poll descriptors: for connections, which wait often for the same descriptor ---
 * Opened on a non-blocking descriptor; at most one fiber waits in each direction. To read:
 *
 *   for (;;) {
 *     n = read(fd, ...); if (n >= 0 || errno != EAGAIN) break;
 *     error = wr_poll_wait(poll, WR_POLL_READ); if (error) break;
 *   }
 * with wr_poll_prepare once before the loop: it fails where the deadline has passed or the descriptor is being closed,
 * and forgets readiness of the past. */
struct wr_poll;
enum wr_poll_direction { WR_POLL_READ = 1, WR_POLL_WRITE = 2, WR_POLL_BOTH = 3 };

int wr_poll_open(int fd, struct wr_poll **out); /* -EPERM: a file, which is always ready; -ENOMEM, -ENOSPC, -EBADF */
int wr_poll_prepare(struct wr_poll *poll, enum wr_poll_direction direction); /* 0, -ETIMEDOUT, -ECANCELED */
int wr_poll_wait(struct wr_poll *poll, enum wr_poll_direction direction);    /* 0, -ETIMEDOUT, -ECANCELED */

/* WR_NEVER removes it; a deadline that has passed wakes who waits. May be called at any time, from anywhere. */
void wr_poll_set_deadline(struct wr_poll *poll, enum wr_poll_direction direction, uint64_t deadline);

/* First step of closing: all that wait, now or later, get -ECANCELED. Then, when nobody uses `poll` any more,
 * wr_poll_close; then close(2). */
void wr_poll_cancel(struct wr_poll *poll);
void wr_poll_close(struct wr_poll *poll);

/* --- endings and reports --- */

/* Prints "panic: TEXT" and the stacks of all fibers, and ends the process with status 2. */
WR_NORETURN void wr_fatal_panic(const char *text);

/* The same, for who has left the frames where it happened: the calling fiber is shown with these of wr_stack_here; where there
 * are none, with those that wr_call_watched has seen. */
WR_NORETURN void wr_fatal_panic_at(const char *text, void *const *frames, int count);

/* Prints "fatal error: std::terminate: TEXT" and the stacks of all fibers, and returns; they go on. For a handler that is about to
 * end the process: of several threads one prints, and the others wait for that end. Its second call does nothing. */
void wr_report_terminate(const char *text, void *const *frames, int count);

/* Calls fn(argument) and returns what it does. For who catches what is thrown there in order to report it: of an exception that
 * nothing within catches, the calls around the throw are kept for wr_fatal_panic_at. Not on plain threads. */
int wr_call_watched(int (*fn)(void *argument), void *argument);

/* The caller's calls, innermost first: how many were stored, at most `most`, and at most 64. */
int wr_stack_here(void **frames, int most);

/* Prints "fatal error: TEXT" and the stacks of all fibers, and ends the process with status 2. */
WR_NORETURN void wr_fatal_error(const char *text);

/* Writes the stacks of all fibers to a descriptor, and goes on. */
void wr_dump_fibers(int fd);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif
