// harsh_launch: starts a program in a hostile environment: limits, seccomp refusals, closed
// descriptors, legacy layout. Run by the drivers of this directory, and by hand to reproduce what
// they report, for example
//   harsh_launch --as 60M --preload build/libwarren.so -- /bin/ls /
// Invariant: only the program that is started gets the library; the launcher itself runs on the
// system's malloc, and exits with 125 when it could not set the scene (never with another code).
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "syscall_filter.h"

namespace {

constexpr int kCannotSetScene = 125;

[[noreturn]] void give_up(const char *what) {
  fprintf(stderr, "harsh_launch: cannot set the scene: %s: %s\n", what, strerror(errno));
  _exit(kCannotSetScene);
}

// "60M", "8G", "30000K", "unlimited".
rlim_t parse_size(const char *text) {
  if (strcmp(text, "unlimited") == 0) return RLIM_INFINITY;
  char *end = nullptr;
  rlim_t value = strtoull(text, &end, 10);
  if (*end == 'K') value <<= 10;
  if (*end == 'M') value <<= 20;
  if (*end == 'G') value <<= 30;
  return value;
}

void limit(__rlimit_resource_t resource, const char *text) {
  const rlim_t value = parse_size(text);
  struct rlimit both = {};
  getrlimit(resource, &both);
  both.rlim_cur = value;
  if (both.rlim_max != RLIM_INFINITY && (value == RLIM_INFINITY || value > both.rlim_max)) both.rlim_max = value;
  if (setrlimit(resource, &both) != 0) give_up("setrlimit");
}

// Root ignores RLIMIT_MEMLOCK; without CAP_IPC_LOCK (in any set: exec would restore it) it holds.
void drop_lock_privilege() {
  if (geteuid() != 0) return;
  if (prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0) != 0) give_up("PR_CAPBSET_DROP");
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) give_up("capget");
  const unsigned bit = 1u << CAP_IPC_LOCK;
  data[0].effective &= ~bit;
  data[0].permitted &= ~bit;
  data[0].inheritable &= ~bit;
  if (syscall(SYS_capset, &header, data) != 0) give_up("capset");
}

void add_personality(unsigned long flag) {
  const int now = personality(0xffffffff);
  if (now < 0 || personality(static_cast<unsigned long>(now) | flag) < 0) give_up("personality");
}

}  // namespace

int main(int argc, char **argv) {
  const char *preload = nullptr;
  const char *denied = nullptr;
  const char *close_list = nullptr;
  bool no_placement = false;
  int error = ENOSYS;
  rlim_t address_space = 0;
  int at = 1;
  for (; at < argc && strcmp(argv[at], "--") != 0; ++at) {
    const char *option = argv[at];
    const auto value = [&]() -> const char * {
      if (at + 1 >= argc) {
        errno = EINVAL;
        give_up(option);
      }
      return argv[++at];
    };
    if (strcmp(option, "--preload") == 0) preload = value();
    else if (strcmp(option, "--as") == 0) address_space = parse_size(value());
    else if (strcmp(option, "--data") == 0) limit(RLIMIT_DATA, value());
    else if (strcmp(option, "--stack") == 0) limit(RLIMIT_STACK, value());
    else if (strcmp(option, "--files") == 0) limit(RLIMIT_NOFILE, value());
    else if (strcmp(option, "--memlock") == 0) { limit(RLIMIT_MEMLOCK, value()); drop_lock_privilege(); }
    else if (strcmp(option, "--no-aslr") == 0) add_personality(ADDR_NO_RANDOMIZE);
    else if (strcmp(option, "--legacy-layout") == 0) add_personality(ADDR_COMPAT_LAYOUT);
    else if (strcmp(option, "--no-thp") == 0) { if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0) give_up("PR_SET_THP_DISABLE"); }
    else if (strcmp(option, "--no-placement") == 0) no_placement = true;
    else if (strcmp(option, "--deny") == 0) denied = value();
    else if (strcmp(option, "--errno") == 0) error = syscall_filter::parse_errno(value());
    else if (strcmp(option, "--close") == 0) close_list = value();
    else { errno = EINVAL; give_up(option); }
  }
  if (at + 1 >= argc) { errno = EINVAL; give_up("no program given"); }
  char **program = argv + at + 1;

  if (preload != nullptr && setenv("LD_PRELOAD", preload, 1) != 0) give_up("setenv");
  if (preload == nullptr) unsetenv("LD_PRELOAD");
  struct rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);  // a victim that dies should not fill the disk
  for (const char *fd = close_list; fd != nullptr && *fd != '\0'; ++fd)
    if (*fd >= '0' && *fd <= '9') close(*fd - '0');
  if (address_space != 0) {
    struct rlimit both = {address_space, address_space};
    if (setrlimit(RLIMIT_AS, &both) != 0) give_up("RLIMIT_AS");
  }
  if (denied != nullptr && !syscall_filter::deny(denied, error)) give_up(denied);
  if (no_placement && !syscall_filter::deny_placement(EINVAL)) give_up("mmap filter");
  execv(program[0], program);
  give_up(program[0]);
}
