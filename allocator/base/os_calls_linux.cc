// System calls of Linux on x86-64, made directly: another preloaded library may interpose libc's
// wrappers and call malloc in them, and the wrappers would set errno.
#include "allocator/base/os_calls.h"

#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <initializer_list>

namespace warren::os_calls {
namespace {

long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  long result = number;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall" : "+a"(result) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return result;
}

long word(const volatile void *p) { return reinterpret_cast<long>(p); }
long word(size_t n) { return static_cast<long>(n); }

constexpr uint64_t kSecond = 1'000'000'000;

uint64_t read_clock(long clock) {
  timespec time{};
  call(SYS_clock_gettime, clock, word(&time));
  return static_cast<uint64_t>(time.tv_sec) * kSecond + static_cast<uint64_t>(time.tv_nsec);
}

constexpr unsigned long kRestorer = 0x04000000;

// Where a handler returns to. Unwinders know the frame of a signal by these very bytes, debuggers by libc's name for
// them too.
extern "C" void warren_return_from_signal() asm("__restore_rt");
asm(".pushsection .text\n\t"
    ".type __restore_rt, @function\n\t"
    "nop\n"
    "__restore_rt:\n\t"
    "mov $15, %rax\n\t"  // SYS_rt_sigreturn
    "syscall\n\t"
    ".size __restore_rt, . - __restore_rt\n\t"
    ".popsection");

}  // namespace

long mmap(void *address, size_t bytes, int protection, int flags) {
  return call(SYS_mmap, word(address), word(bytes), protection, flags, -1, 0);
}

long munmap(void *address, size_t bytes) { return call(SYS_munmap, word(address), word(bytes)); }

long madvise(void *address, size_t bytes, int advice) { return call(SYS_madvise, word(address), word(bytes), advice); }

long mremap(void *old_address, size_t old_bytes, size_t new_bytes, int flags, void *new_address) {
  return call(SYS_mremap, word(old_address), word(old_bytes), word(new_bytes), flags, word(new_address));
}

long mprotect(void *address, size_t bytes, int protection) {
  return call(SYS_mprotect, word(address), word(bytes), protection);
}

long userfaultfd(int flags) { return call(SYS_userfaultfd, flags); }

long futex_wait(const uint32_t *address, uint32_t expected) {
  return call(SYS_futex, word(address), FUTEX_WAIT_PRIVATE, expected, 0);
}

namespace {

long futex_wait_for(int operation, const uint32_t *address, uint32_t expected, uint64_t nanoseconds) {
  const timespec time{static_cast<time_t>(nanoseconds / kSecond), static_cast<long>(nanoseconds % kSecond)};
  return call(SYS_futex, word(address), operation, expected, word(&time));
}

}  // namespace

long futex_wait_for(const uint32_t *address, uint32_t expected, uint64_t nanoseconds) {
  return futex_wait_for(FUTEX_WAIT_PRIVATE, address, expected, nanoseconds);
}

// The kernel's wake at the end of a thread does not find those who wait privately.
long futex_wait_shared(const uint32_t *address, uint32_t expected, uint64_t nanoseconds) {
  return futex_wait_for(FUTEX_WAIT, address, expected, nanoseconds);
}

long futex_wake(const uint32_t *address, int count) { return call(SYS_futex, word(address), FUTEX_WAKE_PRIVATE, count); }
long futex_wake_shared(const uint32_t *address, int count) { return call(SYS_futex, word(address), FUTEX_WAKE, count); }

long open(const char *path, int flags) { return call(SYS_openat, AT_FDCWD, word(path), flags | O_CLOEXEC); }
long create(const char *path) {
  return call(SYS_openat, AT_FDCWD, word(path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
}
long rename(const char *from, const char *to) { return call(SYS_rename, word(from), word(to)); }
long unlink(const char *path) { return call(SYS_unlink, word(path)); }

long file_size(int fd) {
  struct stat found {};
  const long result = call(SYS_fstat, fd, word(&found));
  return failed(result) ? result : static_cast<long>(found.st_size);
}

bool is_special(const char *path) {
  struct stat found {};
  return !failed(call(SYS_newfstatat, AT_FDCWD, word(path), word(&found), AT_SYMLINK_NOFOLLOW)) && !S_ISREG(found.st_mode);
}

long map_file(int fd, size_t bytes) { return call(SYS_mmap, 0, word(bytes), PROT_READ, MAP_PRIVATE, fd, 0); }
long open_for_append(const char *path) {
  return call(SYS_openat, AT_FDCWD, word(path), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}
long close(int fd) { return call(SYS_close, fd); }
long duplicate_from(int fd, int least) { return call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, least); }
long read_at(int fd, void *data, size_t bytes, uint64_t offset) {
  return call(SYS_pread64, fd, word(data), word(bytes), word(offset));
}
long write_at(int fd, const void *data, size_t bytes, uint64_t offset) {
  return call(SYS_pwrite64, fd, word(data), word(bytes), word(offset));
}

FileIdentity file_identity(int fd) {
  struct stat found {};
  if (failed(call(SYS_fstat, fd, word(&found)))) return {};
  return {found.st_dev, found.st_ino};
}

long read(int fd, void *data, size_t bytes) { return call(SYS_read, fd, word(data), word(bytes)); }
long rewind(int fd) { return call(SYS_lseek, fd, 0, 0); }
long directory_entries(int fd, void *entries, size_t bytes) { return call(SYS_getdents64, fd, word(entries), word(bytes)); }

long link_count(int fd) {
  struct stat found{};
  const long result = call(SYS_fstat, fd, word(&found));
  return failed(result) ? result : static_cast<long>(found.st_nlink);
}

long ioctl(int fd, unsigned long request, void *argument) { return call(SYS_ioctl, fd, word(request), word(argument)); }

long write(int fd, const void *data, size_t bytes) { return call(SYS_write, fd, word(data), word(bytes)); }

long personality() { return call(SYS_personality, 0xffffffff); }

uint64_t process_id() { return static_cast<uint64_t>(call(SYS_getpid)); }
uint32_t thread_id() { return static_cast<uint32_t>(call(SYS_gettid)); }

long copy_memory(uint64_t process, void *to, uintptr_t from, size_t bytes) {
  const iovec local{to, bytes}, remote{reinterpret_cast<void *>(from), bytes};
  return call(SYS_process_vm_readv, word(process), word(&local), 1, word(&remote), 1);
}

Capabilities capabilities(uint64_t thread) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, static_cast<int>(thread)};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  call(SYS_capget, word(&header), word(data));
  return {uint64_t{data[1].effective} << 32 | data[0].effective, uint64_t{data[1].permitted} << 32 | data[0].permitted};
}

bool filtered() { return call(SYS_prctl, PR_GET_SECCOMP) > 0; }

uint64_t now() { return read_clock(CLOCK_MONOTONIC); }
uint64_t thread_time() { return read_clock(CLOCK_THREAD_CPUTIME_ID); }
uint64_t process_time() { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

void sleep(uint64_t nanoseconds) {
  const timespec time{static_cast<time_t>(nanoseconds / kSecond), static_cast<long>(nanoseconds % kSecond)};
  call(SYS_nanosleep, word(&time), 0);
}

uint64_t block_all_signals() {
  const uint64_t all = ~uint64_t{0};
  uint64_t before = 0;
  call(SYS_rt_sigprocmask, SIG_SETMASK, word(&all), word(&before), sizeof all);
  return before;
}

long change_signal_mask(int how, const uint64_t *set, uint64_t *before) {
  return call(SYS_rt_sigprocmask, how, word(set), word(before), sizeof *set);
}

uint64_t pending_signals() {
  uint64_t pending = 0;
  call(SYS_rt_sigpending, word(&pending), sizeof pending);
  return pending;
}

SignalHandler handler_of(int signal) {
  SignalAction action{};
  signal_action(signal, nullptr, &action);
  return action.handler;
}

long queue_signal(uint64_t process, uint32_t thread, int signal, int code, uint64_t value) {
  siginfo_t information{};
  information.si_signo = signal;
  information.si_code = code;
  information.si_pid = static_cast<pid_t>(process);
  information.si_value.sival_ptr = reinterpret_cast<void *>(value);
  if (signal == 0) return call(SYS_tgkill, word(process), thread, 0);
  return call(SYS_rt_tgsigqueueinfo, word(process), thread, signal, word(&information));
}

void restore_signals(uint64_t mask) { call(SYS_rt_sigprocmask, SIG_SETMASK, word(&mask), 0, sizeof mask); }

uint64_t set_signal_mask(uint64_t mask) {
  uint64_t before = 0;
  call(SYS_rt_sigprocmask, SIG_SETMASK, word(&mask), word(&before), sizeof mask);
  return before;
}

long handle_signal(int signal, SignalHandler handler) {
  const SignalAction action{handler, SA_SIGINFO | SA_ONSTACK | SA_RESTART | kRestorer, warren_return_from_signal, ~uint64_t{0}};
  return signal_action(signal, &action, nullptr);
}

long signal_action(int signal, const SignalAction *action, SignalAction *before) {
  return call(SYS_rt_sigaction, signal, word(action), word(before), sizeof action->mask);
}

bool returns_from_signal(const void *address) { return address == reinterpret_cast<void *>(warren_return_from_signal); }

long send_signal(uint64_t process, uint32_t thread, int signal) { return call(SYS_tgkill, word(process), thread, signal); }

long clone_thread(unsigned long flags, void *stack_end, uint32_t *id, void *thread_pointer, void (*body)(void *),
                  void *argument) {
  // The child finds what to call on its own stack: nothing of the parent's frame is its to touch.
  auto **top = static_cast<void **>(stack_end);
  *--top = argument;
  *--top = reinterpret_cast<void *>(body);
  long result = SYS_clone;
  register long r10 asm("r10") = word(id);
  register long r8 asm("r8") = word(thread_pointer);
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      ".cfi_remember_state\n\t"
      ".cfi_undefined rip\n\t"
      "xor %%ebp, %%ebp\n\t"
      "pop %%rax\n\t"
      "pop %%rdi\n\t"
      "call *%%rax\n\t"
      "xor %%edi, %%edi\n\t"
      "mov %[exit], %%eax\n\t"
      "syscall\n\t"
      ".cfi_restore_state\n"
      "1:"
      : "+a"(result)
      : "D"(flags), "S"(top), "d"(word(id)), "r"(r10), "r"(r8), [exit] "i"(SYS_exit)
      : "rcx", "r11", "memory");
  return result;
}

void leave_working_directory() { call(SYS_unshare, CLONE_FS); }

void name_thread(const char *name) { call(SYS_prctl, PR_SET_NAME, word(name)); }

void take_short_turns() {
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attributes{};  // the kernel's first version, which all take
  static_assert(sizeof attributes == 48);
  constexpr uint64_t kResetInChildren = 1, kShortest = 100'000;  // nanoseconds
  if (failed(call(SYS_sched_getattr, 0, word(&attributes), sizeof attributes, 0))) return;
  if (attributes.policy != SCHED_OTHER) return;
  attributes.flags = kResetInChildren;
  attributes.runtime = kShortest;
  call(SYS_sched_setattr, 0, word(&attributes), 0);
}

long signal_thread(uint64_t thread, int signal) {
  return call(SYS_tgkill, static_cast<long>(process_id()), static_cast<long>(thread), signal);
}

long copy_process() { return call(SYS_clone, CLONE_UNTRACED, 0, 0, 0, 0); }  // a debugger would take it for a thread

void end_process(int status) {
  for (;;) call(SYS_exit_group, status);
}

long wait_for(uint64_t process, int *status, bool at_once) {
  return call(SYS_wait4, word(process), word(status), __WALL | (at_once ? WNOHANG : 0), 0);
}

long trace(int request, uint64_t thread, uintptr_t address, uintptr_t data) {
  return call(SYS_ptrace, request, word(thread), word(address), word(data));
}

void allow_tracing_by(uint64_t process) { call(SYS_prctl, PR_SET_PTRACER, word(process)); }

void close_all_but(int fd, int other) {
  const unsigned low = static_cast<unsigned>(fd < other ? fd : other), high = static_cast<unsigned>(fd < other ? other : fd);
  unsigned from = 0;
  for (const unsigned kept : {low, high}) {
    if (kept > 0x7fffffff) continue;  // -1
    if (from < kept) call(SYS_close_range, from, kept - 1, 0);
    from = kept + 1;
  }
  call(SYS_close_range, from, 0xffffffff, 0);
}

namespace {
// One kind for all uses: to register another takes 8 ms where there are threads. Written before the first use.
int remote_fence = MEMBARRIER_CMD_PRIVATE_EXPEDITED;
}  // namespace

bool register_remote_fences() {
  if (call(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ) == 0) {
    remote_fence = MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ;
    return true;
  }
  return call(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

bool fences_end_sequences() { return remote_fence == MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ; }
// Not inlined at link time either: a test puts another in its place.
__attribute__((noinline)) bool fence_all_threads() { return call(SYS_membarrier, remote_fence) == 0; }

bool install_guards(void *start, size_t stride, size_t bytes, size_t count) {
  constexpr long kGuardInstall = 102;  // MADV_GUARD_INSTALL, newer than the headers
  constexpr long kSelf = -10000;       // PIDFD_SELF_THREAD_GROUP, likewise
  constexpr size_t kAtOnce = 64;
  auto *at = static_cast<char *>(start);
  while (count > 1) {
    iovec ranges[kAtOnce];
    const size_t some = count < kAtOnce ? count : kAtOnce;
    for (size_t i = 0; i < some; ++i) ranges[i] = {at + i * stride, bytes};
    if (call(SYS_process_madvise, kSelf, word(ranges), word(some), kGuardInstall, 0) != word(some * bytes)) break;
    at += some * stride;
    count -= some;
  }
  // One by one where the kernel knows guards, but not for several ranges at once.
  for (; count != 0; --count, at += stride) {
    if (call(SYS_madvise, word(at), word(bytes), kGuardInstall) != 0) return false;
  }
  return true;
}

}  // namespace warren::os_calls
