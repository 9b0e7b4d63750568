// System calls of Linux on x86-64, made directly: another preloaded library may interpose libc's
// wrappers and call malloc in them, and the wrappers would set errno.
#include "allocator/base/os_calls.h"

#include <linux/futex.h>
#include <sys/syscall.h>

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

}  // namespace

long mmap(void *address, size_t bytes, int protection, int flags) {
  return call(SYS_mmap, word(address), word(bytes), protection, flags, -1, 0);
}

long munmap(void *address, size_t bytes) { return call(SYS_munmap, word(address), word(bytes)); }

long madvise(void *address, size_t bytes, int advice) { return call(SYS_madvise, word(address), word(bytes), advice); }

long mremap(void *old_address, size_t old_bytes, size_t new_bytes, int flags, void *new_address) {
  return call(SYS_mremap, word(old_address), word(old_bytes), word(new_bytes), flags, word(new_address));
}

long futex_wait(const uint32_t *address, uint32_t expected) {
  return call(SYS_futex, word(address), FUTEX_WAIT_PRIVATE, expected, 0);
}

long futex_wake(const uint32_t *address, int count) { return call(SYS_futex, word(address), FUTEX_WAKE_PRIVATE, count); }

long write(int fd, const void *data, size_t bytes) { return call(SYS_write, fd, word(data), word(bytes)); }

long personality() { return call(SYS_personality, 0xffffffff); }

}  // namespace warren::os_calls
