// See dirty_pages.h.
#include "gc/dirty_pages.h"

#include "allocator/base/options.h"
#include "gc/block_digests.h"
#include "gc/mutation.h"

namespace warren::gc::dirty_pages {
namespace {

using mutation::Range;

size_t covered_bytes = 0;  // of the arena, told to mutation::cover()

bool is_scanned(uint16_t tag) { return tag != 0 && (tag & kNoscanTag) == 0; }

// Calls visit for each run of pages whose tags satisfy `wanted`.
template <class Wanted, class Visit>
void for_each_run(Wanted wanted, Visit visit) {
  const size_t pages = __atomic_load_n(&tables.bytes, __ATOMIC_ACQUIRE) >> kPageShift;
  const uint16_t *tags = tables.tags;
  for (size_t page = 0; page < pages;) {
    // Four tags at a time where nothing is.
    if (page % 4 == 0 && page + 4 <= pages && *reinterpret_cast<const uint64_t *>(tags + page) == 0) {
      page += 4;
      continue;
    }
    if (!wanted(__atomic_load_n(&tags[page], __ATOMIC_ACQUIRE))) {
      ++page;
      continue;
    }
    const size_t first = page;
    while (page < pages && wanted(__atomic_load_n(&tags[page], __ATOMIC_ACQUIRE))) ++page;
    visit(Range{tables.start + (first << kPageShift), tables.start + (page << kPageShift)});
  }
}

bool is_new(uint16_t tag) { return is_scanned(tag) && (tag & kWatchedTag) == 0; }
bool is_watched(uint16_t tag) { return is_scanned(tag) && (tag & kWatchedTag) != 0; }

void set_watched(Range range) {
  for (uintptr_t at = range.start; at < range.end; at += kPageSize) {
    // relaxed: spans come and go only before and after marking; nobody else writes a tag now that is not 0
    __atomic_fetch_or(&tables.tags[(at - tables.start) >> kPageShift], kWatchedTag, __ATOMIC_RELAXED);
  }
}

// Watches pages that are not yet; calls `visit` for each run of them.
template <class Visit>
bool watch_new(Visit visit) {
  // Runs are gathered, so that one call watches many.
  constexpr size_t kBatch = 256;
  static Range batch[kBatch];
  size_t count = 0;
  bool good = true;
  const auto send = [&] {
    if (count != 0 && good) good = mutation::watch(batch, count);
    for (size_t i = 0; good && i < count; ++i) {
      set_watched(batch[i]);
      visit(batch[i]);
    }
    count = 0;
  };
  for_each_run(is_new, [&](Range range) {
    if (count == kBatch) send();
    batch[count++] = range;
  });
  send();
  return good;
}

// Pages scanned between two calls of `between`: some 30 us.
constexpr size_t kStride = 16 * kOsPageSize;

struct Pass {
  Marker *marker;
  void (*between)(void *context);
  void *context;
  size_t pages;
  size_t most = ~size_t{0};  // pages to be scanned
};

void rescan(Range dirty, void *context) {
  auto *pass = static_cast<Pass *>(context);
  pass->pages += (dirty.end - dirty.start) / kOsPageSize;
  if (pass->pages > pass->most) return;
  for (uintptr_t at = dirty.start; at < dirty.end; at += kStride) {
    pass->marker->rescan_page_range(at, dirty.end - at < kStride ? dirty.end : at + kStride);
    if (pass->between != nullptr) pass->between(pass->context);
  }
}

void list(Range dirty, void *context) {
  auto *pass = static_cast<Pass *>(context);
  pass->marker->rescan_later(dirty.start, dirty.end);
  pass->pages += (dirty.end - dirty.start) / kOsPageSize;
}

void forget_cycle_tags() {
  for_each_run([](uint16_t tag) { return (tag & kCycleTags) != 0; }, [](Range range) {
    for (uintptr_t at = range.start; at < range.end; at += kPageSize) {
      // relaxed: marking is over, and who reads a tag meanwhile does not ask for these bits
      __atomic_fetch_and(&tables.tags[(at - tables.start) >> kPageShift], static_cast<uint16_t>(~kCycleTags), __ATOMIC_RELAXED);
    }
  });
}

}  // namespace

bool begin() {
  forget_cycle_tags();  // of a span that was being made when a signal's handler forked
  block_digests::begin();  // without a mechanism, too: an overflow has everything scanned again
  const auto choice = static_cast<mutation::Choice>(options.gc_tracking.load(std::memory_order_relaxed));
  if (mutation::set_up(choice) == mutation::Mechanism::kNone) return false;
  if (covered_bytes < tables.bytes) {
    mutation::cover({tables.start + covered_bytes, tables.start + tables.bytes});
    covered_bytes = tables.bytes;
  }
  if (watch_new([](Range) {})) return true;
  end();
  return false;
}

namespace {

size_t fetch(Pass &pass, mutation::Visit visit) {
  if (!watch_new([&](Range range) { visit(range, &pass); })) return 0;  // the rest stays new, and dirty
  for_each_run(is_watched, [&](Range range) { mutation::for_each_dirty(range, true, visit, &pass); });
  return pass.pages;
}

}  // namespace

size_t rescan_running(Marker &marker, void (*between)(void *context), void *context) {
  Pass pass{&marker, between, context, 0};
  return fetch(pass, rescan);
}

size_t list_running(Marker &marker) {
  Pass pass{&marker, nullptr, nullptr, 0};
  return fetch(pass, list);
}

bool rescan_stopped(Marker &marker, size_t most) {
  Pass pass{&marker, nullptr, nullptr, 0, most};
  for_each_run(is_new, [&](Range range) { rescan(range, &pass); });
  for_each_run(is_watched, [&](Range range) { mutation::for_each_dirty(range, false, rescan, &pass); });
  return pass.pages <= most;
}

void end() {
  forget_cycle_tags();
  mutation::unwatch();
}

void reset_in_child() {
  forget_cycle_tags();
  covered_bytes = 0;
  mutation::reset_in_child();
}

}  // namespace warren::gc::dirty_pages
