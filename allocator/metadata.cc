// A bump allocator over the claim's metadata range. See metadata.h.
#include "allocator/metadata.h"

#include "allocator/arena.h"
#include "allocator/base/layout.h"
#include "allocator/base/os_memory.h"

namespace warren::metadata {

constinit Mutex lock(LockRank::kMetadata);

namespace {

// More: counts against RLIMIT_AS unused. Less: more system calls while the heap grows.
constexpr size_t kStep = size_t{256} << 10;

// The first structure is the first thread's cache, and the sentinel's mark starts a page: two lines at the same place in their
// pages are taken for one another by the processor's first cache (AMD EPYC), and each access to both in turn took 8 ns more.
constexpr size_t kAwayFromPageStart = 0x500;

uintptr_t next GUARDED_BY(lock) = 0;
WARREN_SHOW_ADDRESS("metadata.next", &next);
uintptr_t prepared_end GUARDED_BY(lock) = 0;
size_t reserved GUARDED_BY(lock) = 0;  // bytes, at least as many of which lie between `next` and `prepared_end`
uintptr_t range_end = 0;
uintptr_t range_start = 0;
bool exclusive = false;
WARREN_SHOW_ADDRESS("metadata.start", &range_start);

WARREN_COLD bool prepare_up_to(uintptr_t end) REQUIRES(lock) {
  if (end <= prepared_end) return true;
  if (end > range_end) return false;
  uintptr_t wanted = align_up(end, kStep);
  if (wanted > range_end) wanted = range_end;
  void *from = at_address<void>(prepared_end);
  if (os_memory::prepare(from, wanted - prepared_end, exclusive) != os_memory::PrepareResult::kOk) {
    wanted = align_up(end, kOsPageSize);  // a limit is near: only what is needed
    if (os_memory::prepare(from, wanted - prepared_end, exclusive) != os_memory::PrepareResult::kOk) return false;
  }
  prepared_end = wanted;
  return true;
}

}  // namespace

void set_up() {
  MutexLock guard(lock);
  const arena_growth::Range range = arena_growth::metadata_range();
  range_start = range.start;
  next = range.start + kAwayFromPageStart;
  prepared_end = range.start + kOsPageSize;  // the claim's probe
  range_end = range.start + range.bytes;
  exclusive = range.exclusive;
}

WARREN_COLD bool reserve(size_t bytes) {
  if (next + bytes > range_end) return true;
  if (!prepare_up_to(next + bytes)) return false;
  reserved = bytes;
  return true;
}

void *allocate(size_t bytes, size_t align, Use use) {
  const uintptr_t at = align_up(next, align);
  const size_t kept_back = use == Use::kOther ? reserved : bytes < reserved ? reserved - bytes : 0;
  if (at + bytes + kept_back > prepared_end && !prepare_up_to(at + bytes + kept_back)) return nullptr;
  reserved = kept_back;
  next = at + bytes;
  return at_address<void>(at);
}

uint64_t bytes_in_use() {
  MutexLock guard(lock);
  return next - range_start;
}

}  // namespace warren::metadata
