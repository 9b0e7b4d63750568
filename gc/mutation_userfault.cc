// Stores are noted by the kernel: userfaultfd in its asynchronous mode (a store to a protected page only lifts the
// protection, nobody is told) and the PAGEMAP_SCAN ioctl, which lists pages without protection and protects them again
// in one go.
//
//   cover    UFFDIO_REGISTER             makes a mapping one whose pages can be protected
//   watch    PAGEMAP_SCAN, no output     protects; 10 ms a GiB of small pages where UFFDIO_WRITEPROTECT takes 30, and
//                                        refuses mappings that are not ours (EPERM), where the other would protect them
//   dirty    PAGEMAP_SCAN                0.8 ms a GiB of small pages, 0.05 of huge ones
//   unwatch  UFFDIO_WRITEPROTECT         lifts what is left: 35 ms a GiB of small pages, all but nothing of huge ones
//
// What is true of the kernel and relied upon: a page never protected, never touched or given back reads as written; a
// mapping made anew, or moved there, is not registered; a system call's stores count like the program's; both
// descriptors mean the memory of the process that opened them, also in a forked child; when the userfaultfd is
// closed, registration and protection are gone.
//
// Invariant: a range is reported clean only by a scan that checked that all of it is registered (kCheckRegistered).
#include "gc/mutation_mechanism.h"

#include "allocator/base/address.h"
#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

namespace warren::gc::mutation::userfault {
namespace {

// Of Linux 6.7, named for ourselves: older headers lack them.
constexpr uint64_t kWpUnpopulated = 1 << 13;
constexpr uint64_t kWpAsync = 1 << 15;
constexpr uint64_t kFeatures = kWpAsync | kWpUnpopulated | UFFD_FEATURE_PAGEFAULT_FLAG_WP;
// Needs no privilege; what the kernel itself stores is noted all the same in asynchronous mode.
constexpr int kUserModeOnly = 1;

struct PageRegion {
  uint64_t start, end, categories;
};
struct ScanArgument {
  uint64_t size, flags, start, end, walk_end;
  uint64_t regions, regions_size, max_pages;
  uint64_t inverted, all_of, any_of, returned;  // masks of categories
};
static_assert(sizeof(ScanArgument) == 96 && sizeof(PageRegion) == 24, "the kernel's");
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArgument);
constexpr uint64_t kProtectMatching = 1, kCheckRegistered = 2;  // flags
constexpr uint64_t kCanProtect = 1, kWritten = 2;               // categories

// Regions fetched by one call, on the stack. More: fewer calls for scattered stores, more stack.
constexpr size_t kRegions = 128;

// Of a range, done in one call: the kernel holds the lock of the address space meanwhile (small pages: 0.6 ms to
// protect, 2 to lift), and the program's mmap and munmap wait. A multiple of the huge page.
constexpr size_t kPiece = size_t{64} << 20;

KeptDescriptor faults, pagemap;

// What unwatch() lifts. A range that does not fit stays protected until its next first store, which is no harm.
constexpr size_t kMaxWatched = 4096;
WARREN_LARGE_TABLE Range watched[kMaxWatched];
size_t watched_count = 0;

long scan(ScanArgument &argument) {
  argument.size = sizeof argument;
  long result;
  do {
    result = os_calls::ioctl(pagemap.number(), kPagemapScan, &argument);
  } while (result == -EINTR);
  return result;
}

void close() {
  pagemap.close();
  faults.close();
  watched_count = 0;
}

bool open() {
  close();
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kFeatures;
  if (faults.keep(os_calls::userfaultfd(O_CLOEXEC | kUserModeOnly)) &&
      os_calls::ioctl(faults.number(), UFFDIO_API, &api) == 0 && (api.features & kFeatures) == kFeatures &&
      pagemap.keep(os_calls::open(kPagemapPath, O_RDONLY))) {
    return true;
  }
  close();
  return false;
}

bool enlist(Range range) {
  uffdio_register argument{};
  argument.range = {range.start, range.end - range.start};
  argument.mode = UFFDIO_REGISTER_MODE_WP;
  return os_calls::ioctl(faults.number(), UFFDIO_REGISTER, &argument) == 0;
}

// In pieces that end at multiples of kPiece, so that none ends inside a huge page but where the range does.
template <class Do>
bool in_pieces(Range range, Do do_piece) {
  bool good = true;
  while (range.start < range.end) {
    const uintptr_t end = std::min(range.end, align_down(range.start, kPiece) + kPiece);
    good &= do_piece(Range{range.start, end});
    range.start = end;
  }
  return good;
}

bool protect(Range piece) {
  ScanArgument argument{};
  argument.flags = kProtectMatching | kCheckRegistered;
  argument.start = piece.start;
  argument.end = piece.end;
  argument.all_of = kWritten;
  return scan(argument) >= 0;
}

// May be called by several workers.
bool enlist_and_protect(Range range) {
  if (in_pieces(range, protect)) return true;
  return enlist(range) && in_pieces(range, protect);
}

void remember(Range range) {
  if (watched_count > 0) {
    Range &last = watched[watched_count - 1];
    if (range.start == last.end) {
      last.end = range.end;
      return;
    }
  }
  if (watched_count < kMaxWatched) watched[watched_count++] = range;
}

bool watch(Range range) {
  if (enlist_and_protect(range)) {
    remember(range);
    return true;
  }
  // The program may have closed our descriptors. Opened anew, they know nothing of what was watched before, and the
  // scans will say so.
  if (!(faults.is_open() && pagemap.is_open()) && open() && enlist_and_protect(range)) {
    remember(range);
    return true;
  }
  return false;
}

// Dirty pages, and all pages of mappings that cannot be protected, clearing nothing.
bool visit_written_or_unregistered(Range in, PageRegion (&regions)[kRegions], Visit visit, void *context) {
  while (in.start < in.end) {
    ScanArgument argument{};
    argument.start = in.start;
    argument.end = in.end;
    argument.regions = address_of(regions);
    argument.regions_size = kRegions;
    argument.inverted = kCanProtect;
    argument.any_of = kWritten | kCanProtect;
    argument.returned = kWritten;
    const long count = scan(argument);
    if (count < 0 || argument.walk_end <= in.start) {
      visit(in, context);
      return false;
    }
    for (long i = 0; i < count; ++i) visit({regions[i].start, regions[i].end}, context);
    in.start = argument.walk_end;
  }
  return true;
}

bool visit_piece(Range in, bool clear, Visit visit, void *context) {
  PageRegion regions[kRegions];
  while (in.start < in.end) {
    ScanArgument argument{};
    argument.flags = kCheckRegistered | (clear ? kProtectMatching : 0);
    argument.start = in.start;
    argument.end = in.end;
    argument.regions = address_of(regions);
    argument.regions_size = kRegions;
    argument.all_of = kWritten;
    argument.returned = kWritten;
    const long count = scan(argument);
    if (count < 0 || argument.walk_end <= in.start) {
      // The call may have cleared some pages before it failed, and told nothing.
      if (clear) {
        enlist_and_protect(in);  // before the visit: a store that this misses comes before it
        visit(in, context);
      } else {
        visit_written_or_unregistered(in, regions, visit, context);
      }
      return false;
    }
    for (long i = 0; i < count; ++i) visit({regions[i].start, regions[i].end}, context);
    in.start = argument.walk_end;
  }
  return true;
}

bool for_each_dirty(Range in, bool clear, Visit visit, void *context) {
  return in_pieces(in, [=](Range piece) { return visit_piece(piece, clear, visit, context); });
}

bool lift(Range piece) {
  uffdio_writeprotect argument{};
  argument.range = {piece.start, piece.end - piece.start};
  long result;
  do {
    result = os_calls::ioctl(faults.number(), UFFDIO_WRITEPROTECT, &argument);
  } while (result == -EAGAIN);
  return result == 0;
}

void unwatch() {
  // What cannot be lifted (unmapped or moved meanwhile) only costs a first store more.
  for (size_t i = 0; i < watched_count; ++i) {
    if (!in_pieces(watched[i], lift) && enlist(watched[i])) in_pieces(watched[i], lift);
  }
  watched_count = 0;
}

bool lift_range(Range range) { return in_pieces(range, lift); }

void forget_watched() { watched_count = 0; }

bool store_by_system_call(void *to) {
  return os_calls::read_at(pagemap.number(), to, sizeof(uint64_t), 0) == sizeof(uint64_t);
}

}  // namespace

const Operations operations = {open, close, enlist, watch, for_each_dirty, unwatch, close, store_by_system_call, true, lift_range,
                               forget_watched};

}  // namespace warren::gc::mutation::userfault
