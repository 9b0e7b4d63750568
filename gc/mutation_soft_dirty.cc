// Stores are noted by the kernel: bit 55 of a page's entry in /proc/self/pagemap, since "4" was last written to
// /proc/self/clear_refs. That clears the bits of the whole process, stacks and libraries included, and each page's next
// store faults: so it is done once a cycle, by the first watch().
//
// Nothing can read and clear in one step while the program runs: what is stored between the two would be lost. So a
// page that has become dirty stays dirty to the end of the cycle, and `clear` is not heeded. Passes then do not
// converge, which costs time in the pause and nothing else.
//
// Invariant: clear_refs is written only by the first watch() of a cycle.
#include "gc/mutation_mechanism.h"

#include "allocator/base/address.h"
#include "allocator/base/os_calls.h"

#include <algorithm>
#include <fcntl.h>

namespace warren::gc::mutation::soft_dirty {
namespace {

constexpr uint64_t kSoftDirty = uint64_t{1} << 55;

// Entries read by one call, on the stack.
constexpr size_t kEntries = 384;

KeptDescriptor pagemap, clear_refs;
bool cleared = false;  // in this cycle

void close() {
  clear_refs.close();
  pagemap.close();
  cleared = false;
}

bool open() {
  close();
  if (pagemap.keep(os_calls::open(kPagemapPath, O_RDONLY)) &&
      clear_refs.keep(os_calls::open("/proc/self/clear_refs", O_WRONLY)))
    return true;
  close();
  return false;
}

bool cover(Range) { return true; }

bool watch(Range) {
  if (cleared) return true;  // what is dirty by now stays so
  if (!(clear_refs.is_open() && pagemap.is_open()) && !open()) return false;
  cleared = os_calls::write(clear_refs.number(), "4", 1) == 1;
  return cleared;
}

bool for_each_dirty(Range in, bool, Visit visit, void *context) {
  uint64_t entries[kEntries];
  Range dirty{in.start, in.start};
  while (in.start < in.end) {
    const size_t count = std::min(kEntries, (in.end - in.start) / kOsPageSize);
    const size_t bytes = count * sizeof(uint64_t);
    const uint64_t offset = in.start / kOsPageSize * sizeof(uint64_t);
    if (os_calls::read_at(pagemap.number(), entries, bytes, offset) != static_cast<long>(bytes)) {
      visit({dirty.start, in.end}, context);
      return false;
    }
    for (size_t i = 0; i < count; ++i) {
      const uintptr_t page = in.start + i * kOsPageSize;
      if ((entries[i] & kSoftDirty) == 0) continue;
      if (dirty.end != page) {
        if (dirty.start != dirty.end) visit(dirty, context);
        dirty.start = page;
      }
      dirty.end = page + kOsPageSize;
    }
    in.start += count * kOsPageSize;
  }
  if (dirty.start != dirty.end) visit(dirty, context);
  return true;
}

void unwatch() { cleared = false; }

bool store_by_system_call(void *to) {
  return os_calls::read_at(pagemap.number(), to, sizeof(uint64_t), 0) == sizeof(uint64_t);
}

}  // namespace

const Operations operations = {open, close, cover, watch, for_each_dirty, unwatch, close, store_by_system_call, false, nullptr, nullptr};

}  // namespace warren::gc::mutation::soft_dirty
