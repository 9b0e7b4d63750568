// The table of system calls: everything the heap asks of the kernel passes here.
// Callers: os_memory.cc, os_process.cc, os_thread_linux.cc, mutex.cc, log.cc, scavenger.cc, gc/, scheduler/. The tests link
// tests/support/os_calls_faulty.cc around it, which fails calls on request.
// Invariant: errno is never touched, nothing is allocated, no libc function is called.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace warren::os_calls {

// Each returns the kernel's result: a negative number is -errno.
long mmap(void *address, size_t bytes, int protection, int flags);
long munmap(void *address, size_t bytes);
long madvise(void *address, size_t bytes, int advice);
long mremap(void *old_address, size_t old_bytes, size_t new_bytes, int flags, void *new_address);

long mprotect(void *address, size_t bytes, int protection);
long userfaultfd(int flags);

inline const uint32_t *futex_word(const std::atomic<uint32_t> &word) {
  return reinterpret_cast<const uint32_t *>(&word);
}
long futex_wait(const uint32_t *word, uint32_t expected);
long futex_wait_for(const uint32_t *word, uint32_t expected, uint64_t nanoseconds);  // -ETIMEDOUT at the latest then
long futex_wake(const uint32_t *word, int count);
// The same between processes that share the word, and for the end of a thread that clears it.
long futex_wait_shared(const uint32_t *word, uint32_t expected, uint64_t nanoseconds);
long futex_wake_shared(const uint32_t *word, int count);
long open(const char *path, int flags);
long create(const char *path);  // for writing, empty, 0666 less the mask
long rename(const char *from, const char *to);
long unlink(const char *path);
long file_size(int fd);
bool is_special(const char *path);  // there, and no regular file: also a symbolic link, to whatever
long map_file(int fd, size_t bytes);  // its address, to be read
long open_for_append(const char *path);  // made if it is not there
long close(int fd);
long duplicate_from(int fd, int least);  // on the first free number from `least` on, closed by exec
long read_at(int fd, void *data, size_t bytes, uint64_t offset);
long write_at(int fd, const void *data, size_t bytes, uint64_t offset);
struct FileIdentity {
  uint64_t device, inode;
  bool operator==(const FileIdentity &) const = default;
};
FileIdentity file_identity(int fd);  // zeros: not open
long read(int fd, void *data, size_t bytes);
long rewind(int fd);
struct DirectoryEntry {  // the kernel's linux_dirent64
  uint64_t inode;
  int64_t offset;
  unsigned short length;
  unsigned char type;
  char name[];
};
long directory_entries(int fd, void *entries, size_t bytes);  // of struct linux_dirent64
long link_count(int fd);
long ioctl(int fd, unsigned long request, void *argument);
long write(int fd, const void *data, size_t bytes);
long personality();
uint64_t process_id();
uint32_t thread_id();

// This process's memory as another process would read it: unreadable addresses end the copy and fault nobody. The
// bytes copied, or -EFAULT when the first page already cannot be read.
long copy_memory(uint64_t process, void *to, uintptr_t from, size_t bytes);
struct Capabilities {
  uint64_t effective, permitted;
  bool operator==(const Capabilities &) const = default;
};
Capabilities capabilities(uint64_t thread);  // 0: the calling one; a process's id names its first
bool filtered();  // whether a filter decides on this thread's system calls (seccomp)

// Nanoseconds of a clock that never goes back, and of processor time this thread has had, and this process.
uint64_t now();
uint64_t thread_time();
uint64_t process_time();
void sleep(uint64_t nanoseconds);

// The mask before.
uint64_t block_all_signals();
void restore_signals(uint64_t mask);
uint64_t set_signal_mask(uint64_t mask);  // likewise, for any mask
long change_signal_mask(int how, const uint64_t *set, uint64_t *before);  // as rt_sigprocmask; either may be nullptr
uint64_t pending_signals();  // that wait for this thread, or for any that will have them, and are blocked here

// A handler of the signal, installed past libc: with every signal blocked while it runs, on the alternate stack if there
// is one.
using SignalHandler = void (*)(int signal, void *information, void *context);
long handle_signal(int signal, SignalHandler handler);

// What the kernel does with a signal, as it keeps it, which is not libc's struct sigaction. Either may be nullptr.
struct SignalAction {
  SignalHandler handler;
  unsigned long flags;
  void (*restorer)();
  uint64_t mask;
};
long signal_action(int signal, const SignalAction *action, SignalAction *before);
bool returns_from_signal(const void *address);  // whether a handler that returns there was called by the kernel
long send_signal(uint64_t process, uint32_t thread, int signal);
SignalHandler handler_of(int signal);  // who handles it now; nullptr for the default action

// Queues a signal for one thread of a process; `code` (negative) and `value` arrive in its siginfo. Signal 0 only asks
// whether the thread is there.
long queue_signal(uint64_t process, uint32_t thread, int signal, int code, uint64_t value);

// The new thread runs body(argument) on the stack that ends at `stack_end` and ends itself. *id holds its id until the
// kernel, done with it, stores 0 there.
long clone_thread(unsigned long flags, void *stack_end, uint32_t *id, void *thread_pointer, void (*body)(void *),
                  void *argument);
void leave_working_directory();  // the process's: setns to another mount namespace wants it unshared
void name_thread(const char *name);  // the calling one; at most 15 characters

// The calling thread asks for short turns on the processor, and so for early ones, not for more of it (Linux 6.12; an older kernel
// takes no notice). Threads that it starts are as any other. A thread that is no ordinary one (real-time) stays what it is.
void take_short_turns();

long signal_thread(uint64_t thread, int signal);

// A copy of this process, with the calling thread only: 0 in the copy, which runs on the same stack. Its end is told to
// nobody by a signal, and no wait but one for such processes sees it. Handlers of pthread_atfork do not run.
long copy_process();
[[noreturn]] void end_process(int status);
long wait_for(uint64_t process, int *status, bool now);  // waitpid for threads and processes of any kind; now: does not wait
long trace(int request, uint64_t thread, uintptr_t address, uintptr_t data);  // ptrace
void allow_tracing_by(uint64_t process);  // where only ancestors may trace
void close_all_but(int fd, int other);  // descriptors; either may be -1

// A fence in every thread of this process that runs. False where the kernel does not offer it (register once, first).
bool register_remote_fences();
bool fence_all_threads();  // false: the kernel refused, though it was registered: a filter came meanwhile
// Whether such a fence also ends restartable sequences: after it, none that began before it will store.
bool fences_end_sequences();

// Guard pages without mappings of their own (Linux 6.13): each of the `count` pages of `bytes` at start, start + stride, …
// faults when touched. One call for as many as the kernel takes. False: not all were made.
bool install_guards(void *start, size_t stride, size_t bytes, size_t count);

constexpr bool failed(long result) { return result < 0 && result > -4096; }

}  // namespace warren::os_calls
