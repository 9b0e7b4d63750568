// The table of system calls: everything the heap asks of the kernel passes here.
// Callers: os_memory.cc, os_process.cc, os_thread_linux.cc, mutex.cc, log.cc, scavenger.cc, scheduler/. The tests link
// tests/support/os_calls_faulty.cc around it, which fails calls on request.
// Invariant: errno is never touched, nothing is allocated, no libc function is called.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::os_calls {

// Each returns the kernel's result: a negative number is -errno.
long mmap(void *address, size_t bytes, int protection, int flags);
long munmap(void *address, size_t bytes);
long madvise(void *address, size_t bytes, int advice);
long mremap(void *old_address, size_t old_bytes, size_t new_bytes, int flags, void *new_address);

long futex_wait(const uint32_t *word, uint32_t expected);
long futex_wait_for(const uint32_t *word, uint32_t expected, uint64_t nanoseconds);
long futex_wake(const uint32_t *word, int count);
long write(int fd, const void *data, size_t bytes);
long personality();
uint64_t process_id();
struct Capabilities {
  uint64_t effective, permitted;
  bool operator==(const Capabilities &) const = default;
};
Capabilities capabilities(uint64_t thread);  // 0: the calling one; a process's id names its first
bool filtered();  // whether a filter decides on this thread's system calls (seccomp)

// Nanoseconds of a clock that never goes back, and of processor time this thread has had.
uint64_t now();
uint64_t thread_time();
void sleep(uint64_t nanoseconds);

// The mask before.
uint64_t block_all_signals();
void restore_signals(uint64_t mask);

// The new thread runs body(argument) on the stack that ends at `stack_end` and ends itself. *id holds its id until the
// kernel, done with it, stores 0 there.
long clone_thread(unsigned long flags, void *stack_end, uint32_t *id, void *thread_pointer, void (*body)(void *),
                  void *argument);
void leave_working_directory();  // the process's: setns to another mount namespace wants it unshared
void name_thread(const char *name);  // the calling one; at most 15 characters

uint64_t thread_id();  // the calling one's
long signal_thread(uint64_t thread, int signal);

// A fence in every thread of this process that runs. False where the kernel does not offer it (register once, first).
bool register_remote_fences();
void fence_all_threads();

// Guard pages without mappings of their own (Linux 6.13): each of the `count` pages of `bytes` at start, start + stride, …
// faults when touched. One call for as many as the kernel takes. False: not all were made.
bool install_guards(void *start, size_t stride, size_t bytes, size_t count);

constexpr bool failed(long result) { return result < 0 && result > -4096; }

}  // namespace warren::os_calls
