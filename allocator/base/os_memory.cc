// The four states on Linux; see the header. The only callers of mmap, munmap, madvise, mremap and mprotect.
#include "allocator/base/os_memory.h"

#include "allocator/base/address.h"
#include "allocator/base/os_calls.h"

#include <cerrno>
#include <sys/mman.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4  // Linux 5.7; glibc 2.32
#endif

namespace warren::os_memory {
namespace {

constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS;

}  // namespace

void *reserve(size_t bytes, size_t align) {
  const size_t padded = bytes + align;
  const long result = os_calls::mmap(nullptr, padded, PROT_NONE, kAnonymous | MAP_NORESERVE);
  if (os_calls::failed(result)) return nullptr;
  const uintptr_t start = static_cast<uintptr_t>(result);
  const uintptr_t aligned = align_up(start, align);
  if (aligned != start) os_calls::munmap(at_address<void>(start), aligned - start);
  if (const size_t tail = start + padded - (aligned + bytes); tail != 0) {
    os_calls::munmap(at_address<void>(aligned + bytes), tail);
  }
  return at_address<void>(aligned);
}

void unreserve(void *address, size_t bytes) { os_calls::munmap(address, bytes); }

PrepareResult prepare(void *address, size_t bytes, bool exclusive) {
  // Not MAP_NORESERVE: the kernel's overcommit heuristic is what turns an absurd request into NULL.
  const int placement = exclusive ? MAP_FIXED : MAP_FIXED_NOREPLACE;
  const long result = os_calls::mmap(address, bytes, PROT_READ | PROT_WRITE, kAnonymous | placement);
  if (result == -EEXIST) return PrepareResult::kTaken;
  if (os_calls::failed(result)) return PrepareResult::kNoMemory;
  if (static_cast<uintptr_t>(result) != address_of(address)) {  // before Linux 4.17 the flag is only a hint
    os_calls::munmap(at_address<void>(static_cast<uintptr_t>(result)), bytes);
    return PrepareResult::kTaken;
  }
  return PrepareResult::kOk;
}

void unprepare(void *address, size_t bytes, bool exclusive) {
  if (exclusive) {
    os_calls::mmap(address, bytes, PROT_NONE, kAnonymous | MAP_NORESERVE | MAP_FIXED);
  } else {
    os_calls::munmap(address, bytes);
  }
}

bool release(void *address, size_t bytes) { return os_calls::madvise(address, bytes, MADV_DONTNEED) == 0; }

void prefer_huge_pages(void *address, size_t bytes, bool prefer) {
  os_calls::madvise(address, bytes, prefer ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

bool allow_stores(void *address, size_t bytes, bool allow) {
  return os_calls::mprotect(address, bytes, allow ? PROT_READ | PROT_WRITE : PROT_READ) == 0;
}

bool wipe_in_children(void *address, size_t bytes) { return os_calls::madvise(address, bytes, MADV_WIPEONFORK) == 0; }

MoveResult move_pages(void *from, void *to, size_t bytes) {
  const long result = os_calls::mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
  if (!os_calls::failed(result)) return MoveResult::kMoved;
  // The kernel unmaps the destination before some of its checks and after others. Where it is still mapped it can
  // be emptied; elsewhere it is mapped anew, which a process at its limit of mappings may not do.
  if (release(to, bytes) || prepare(to, bytes, true) == PrepareResult::kOk) return MoveResult::kNotMoved;
  return MoveResult::kDestinationLost;
}

}  // namespace warren::os_memory
