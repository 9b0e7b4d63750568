// The table of system calls: everything the heap asks of the kernel passes here.
// Callers: os_memory.cc, mutex.cc, log.cc, address_space.cc. The tests link
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
long futex_wake(const uint32_t *word, int count);
long write(int fd, const void *data, size_t bytes);
long personality();

constexpr bool failed(long result) { return result < 0 && result > -4096; }

}  // namespace warren::os_calls
