// syscall_filter.h: a seccomp filter written by hand that makes named system calls fail with an
// errno, or (allow list) kills the process at any call that is not named. Used by harsh_launch
// before exec, by victims that seal themselves half-way, and by tests of what the kernel refuses
// elsewhere. Invariant: a call that is not named behaves as ever, and the filter itself never needs memory.
#pragma once

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace syscall_filter {

struct NamedCall {
  const char *name;
  unsigned number;
};

inline constexpr NamedCall kCalls[] = {
    {"brk", SYS_brk},
    {"clock_gettime", SYS_clock_gettime},
    {"clock_nanosleep", SYS_clock_nanosleep},
    {"clone", SYS_clone},
    {"clone3", SYS_clone3},
    {"close", SYS_close},
    {"exit", SYS_exit},
    {"exit_group", SYS_exit_group},
    {"futex", SYS_futex},
    {"getcpu", SYS_getcpu},
    {"getpid", SYS_getpid},
    {"getrandom", SYS_getrandom},
    {"gettid", SYS_gettid},
    {"madvise", SYS_madvise},
    {"membarrier", SYS_membarrier},
    {"mincore", SYS_mincore},
    {"mmap", SYS_mmap},
    {"mprotect", SYS_mprotect},
    {"mremap", SYS_mremap},
    {"munmap", SYS_munmap},
    {"newfstatat", SYS_newfstatat},
    {"open", SYS_open},
    {"openat", SYS_openat},
    {"perf_event_open", SYS_perf_event_open},
    {"prctl", SYS_prctl},
    {"ptrace", SYS_ptrace},
    {"read", SYS_read},
    {"readlink", SYS_readlink},
    {"rseq", SYS_rseq},
    {"rt_sigaction", SYS_rt_sigaction},
    {"rt_sigprocmask", SYS_rt_sigprocmask},
    {"sched_getaffinity", SYS_sched_getaffinity},
    {"sched_yield", SYS_sched_yield},
    {"set_robust_list", SYS_set_robust_list},
    {"sigaltstack", SYS_sigaltstack},
    {"sysinfo", SYS_sysinfo},
    {"timer_create", SYS_timer_create},
    {"userfaultfd", SYS_userfaultfd},
    {"write", SYS_write},
};

constexpr size_t kMaxCalls = 64;

// Parses "madvise,mremap" into numbers; returns how many, or 0 at a name it does not know.
inline size_t parse_calls(const char *list, unsigned *numbers) {
  size_t count = 0;
  while (*list != '\0') {
    const size_t length = strcspn(list, ",");
    bool found = false;
    for (const NamedCall &call : kCalls) {
      if (strlen(call.name) != length || strncmp(call.name, list, length) != 0) continue;
      if (count == kMaxCalls) return 0;
      numbers[count++] = call.number;
      found = true;
    }
    if (!found) return 0;
    list += length;
    if (*list == ',') ++list;
  }
  return count;
}

inline int parse_errno(const char *name) {
  if (strcmp(name, "ENOSYS") == 0) return ENOSYS;
  if (strcmp(name, "EPERM") == 0) return EPERM;
  if (strcmp(name, "EACCES") == 0) return EACCES;
  if (strcmp(name, "ENOMEM") == 0) return ENOMEM;
  if (strcmp(name, "EINVAL") == 0) return EINVAL;
  return 0;
}

enum class Threads { kThisAndItsOwn, kAll };

// The listed calls get `listed`, all others get `others` (SECCOMP_RET_* values).
inline bool install(const unsigned *numbers, size_t count, uint32_t listed, uint32_t others,
                    Threads threads = Threads::kThisAndItsOwn) {
  sock_filter program[kMaxCalls + 8];
  size_t at = 0;
  const auto statement = [&](unsigned code, uint32_t value) {
    program[at++] = {static_cast<uint16_t>(code), 0, 0, value};
  };
  const auto jump_equal = [&](uint32_t value, size_t if_true, size_t if_false) {
    program[at++] = {static_cast<uint16_t>(BPF_JMP | BPF_JEQ | BPF_K), static_cast<uint8_t>(if_true),
                     static_cast<uint8_t>(if_false), value};
  };
  statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch));
  jump_equal(AUDIT_ARCH_X86_64, 1, 0);
  statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);  // a foreign architecture: none of our business
  statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  for (size_t i = 0; i < count; ++i) jump_equal(numbers[i], count - i, 0);
  statement(BPF_RET | BPF_K, others);
  statement(BPF_RET | BPF_K, listed);
  sock_fprog filter = {static_cast<unsigned short>(at), program};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  const unsigned flags = threads == Threads::kAll ? SECCOMP_FILTER_FLAG_TSYNC : 0;
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter) == 0;
}

inline bool deny(const char *list, int error, Threads threads = Threads::kThisAndItsOwn) {
  unsigned numbers[kMaxCalls];
  const size_t count = parse_calls(list, numbers);
  return count > 0 && install(numbers, count, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error), SECCOMP_RET_ALLOW, threads);
}

// Takes MAP_FIXED_NOREPLACE away: mmap with that flag fails with `error`, every other mmap works. An allocator that
// chooses its own addresses must then live with those that the kernel chooses.
inline bool deny_placement(int error) {
  constexpr uint32_t kFixedNoReplace = 0x100000;
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[3])),  // the low half: little endian
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kFixedNoReplace, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog filter = {sizeof program / sizeof *program, program};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
}

inline bool allow_only(const char *list) {
  unsigned numbers[kMaxCalls];
  const size_t count = parse_calls(list, numbers);
  return count > 0 && install(numbers, count, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS);
}

}  // namespace syscall_filter
