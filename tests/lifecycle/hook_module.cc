// A preload of the kind that fakes time or files: it stands before the C library's functions and allocates
// in each. Preloaded together with the allocator by lifecycle_test.
// Invariant: what it hooks still works, so any failure is the allocator calling a hook while it is not
// ready to be called itself.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>

namespace {
void use_heap() {
  void *(*volatile take)(std::size_t) = &malloc;
  void *block = take(300);
  free(block);
}
}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int clock_gettime(clockid_t clock, struct timespec *now) noexcept {
  use_heap();
  return static_cast<int>(syscall(SYS_clock_gettime, clock, now));
}

int open(const char *path, int flags, ...) {
  use_heap();
  va_list arguments;
  va_start(arguments, flags);
  const int mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, int) : 0;
  va_end(arguments);
  return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

ssize_t read(int fd, void *buffer, size_t bytes) {
  use_heap();
  return syscall(SYS_read, fd, buffer, bytes);
}

void *mmap(void *hint, size_t bytes, int protection, int flags, int fd, off_t offset) noexcept {
  use_heap();
  return reinterpret_cast<void *>(syscall(SYS_mmap, hint, bytes, protection, flags, fd, offset));
}

int munmap(void *address, size_t bytes) noexcept {
  use_heap();
  return static_cast<int>(syscall(SYS_munmap, address, bytes));
}

int madvise(void *address, size_t bytes, int advice) noexcept {
  use_heap();
  return static_cast<int>(syscall(SYS_madvise, address, bytes, advice));
}

}  // extern "C"
#pragma GCC visibility pop
