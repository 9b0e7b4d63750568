// A kernel before 6.11, as far as gc/mappings.cc sees it. Linked in place of one system call.
// Invariant: every query fails, so that all answers come from /proc/self/maps.
#include <cerrno>

extern "C" long __wrap__ZN6warren8os_calls5ioctlEimPv(int, unsigned long, void *) { return -ENOTTY; }
