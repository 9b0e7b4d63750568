// See dirty_pages.h.
#include "gc/dirty_pages.h"

#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "gc/block_digests.h"
#include "gc/late_watch.h"
#include "gc/mutation.h"
#include "gc/page_states.h"
#include "gc/span_set.h"

namespace warren::gc::dirty_pages {
namespace {

using mutation::Range;

size_t covered_bytes = 0;  // of the arena, told to mutation::cover()

// Which pages are wanted, by their tags; and what is easily seen of four tags: all or none of them. The second pause waits for two
// walks over all tags, which take 0.2 ms each for a GiB if they look at one page after the other.
constexpr uint64_t kFour = 0x0001'0001'0001'0001;

struct Scanned {
  static bool one(uint16_t tag) { return tag != 0 && (tag & kNoscanTag) == 0; }
  static bool all(uint64_t) { return false; }
  static bool none(uint64_t tags) { return tags == 0; }
};

struct Watched {
  static bool one(uint16_t tag) { return (tag & (kNoscanTag | kWatchedTag)) == kWatchedTag; }
  static bool all(uint64_t tags) { return (tags & kFour * (kNoscanTag | kWatchedTag)) == kFour * kWatchedTag; }
  static bool none(uint64_t tags) { return (tags & kFour * kWatchedTag) == 0; }
};

struct New {  // scanned, and not watched
  static bool one(uint16_t tag) { return tag != 0 && (tag & (kNoscanTag | kWatchedTag)) == 0; }
  static bool all(uint64_t) { return false; }
  static bool none(uint64_t tags) { return tags == 0 || (tags & kFour * kWatchedTag) == kFour * kWatchedTag; }
};

template <uint16_t tags>
struct With {
  static bool one(uint16_t tag) { return (tag & tags) != 0; }
  static bool all(uint64_t) { return false; }
  static bool none(uint64_t four) { return (four & kFour * tags) == 0; }
};

// Calls visit for each run of pages that are wanted.
template <class Wanted, class Visit>
void for_each_run(Visit visit) {
  const size_t pages = __atomic_load_n(&tables.bytes, __ATOMIC_ACQUIRE) >> kPageShift;
  const uint16_t *tags = tables.tags;
  const auto next = [&](size_t page, auto by_four, bool wanted) {
    while (page < pages) {
      if (page % 4 == 0 && page + 4 <= pages) {
        if (by_four(__atomic_load_n(reinterpret_cast<const uint64_t *>(tags + page), __ATOMIC_ACQUIRE))) {
          page += 4;
          continue;
        }
      }
      if (Wanted::one(__atomic_load_n(&tags[page], __ATOMIC_ACQUIRE)) != wanted) break;
      ++page;
    }
    return page;
  };
  for (size_t page = 0;;) {
    const size_t first = next(page, Wanted::none, false);
    if (first == pages) return;
    page = next(first, Wanted::all, true);
    visit(Range{tables.start + (first << kPageShift), tables.start + (page << kPageShift)});
  }
}

void set_watched(Range range) {
  for (uintptr_t at = range.start; at < range.end; at += kPageSize) {
    // relaxed: spans come and go only before and after marking; nobody else writes a tag now that is not 0
    __atomic_fetch_or(&tables.tags[(at - tables.start) >> kPageShift], kWatchedTag, __ATOMIC_RELAXED);
  }
}

// What is watched, or cleared, before it is scanned: while it waits, the program's stores cost it faults, and make it dirty again. All at
// once: a quarter more faults where all of the heap is written to. Smaller: more system calls.
constexpr size_t kSlice = size_t{16} << 20;

template <class Visit>
void for_each_slice(Range range, Visit visit) {
  for (uintptr_t at = range.start; at < range.end; at += kSlice) visit(Range{at, range.end - at < kSlice ? range.end : at + kSlice});
}

// Watches pages that are not yet; calls `visit` for each run of them.
template <class Visit>
bool watch_new(Visit visit) {
  // Runs are gathered, so that one call watches many.
  constexpr size_t kBatch = 256;
  static Range batch[kBatch];
  size_t count = 0, bytes = 0;
  bool good = true;
  const auto send = [&] {
    if (count != 0 && good) good = mutation::watch(batch, count);
    for (size_t i = 0; good && i < count; ++i) {
      set_watched(batch[i]);
      visit(batch[i]);
    }
    count = bytes = 0;
  };
  for_each_run<New>([&](Range run) {
    for_each_slice(run, [&](Range range) {
      batch[count++] = range;
      bytes += range.end - range.start;
      if (count == kBatch || bytes >= kSlice) send();
    });
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
  size_t pages = 0;
  size_t most = ~size_t{0};  // pages to be scanned
  size_t waiting = 0;        // bytes listed since `between` was called
};

void rescan(Range dirty, void *context) {
  auto *pass = static_cast<Pass *>(context);
  page_states::add(dirty, page_states::kTouched);
  pass->pages += (dirty.end - dirty.start) / kOsPageSize;
  if (pass->pages > pass->most) return;
  for (uintptr_t at = dirty.start; at < dirty.end; at += kStride) {
    pass->marker->rescan_page_range(at, dirty.end - at < kStride ? dirty.end : at + kStride);
    if (pass->between != nullptr) pass->between(pass->context);
  }
}

void list(Range dirty, void *context) {
  auto *pass = static_cast<Pass *>(context);
  page_states::add(dirty, page_states::kTouched);
  pass->marker->rescan_later(dirty.start, dirty.end);
  pass->pages += (dirty.end - dirty.start) / kOsPageSize;
  pass->waiting += dirty.end - dirty.start;
  if (pass->waiting < kSlice) return;
  pass->between(pass->context);
  pass->waiting = 0;
}

// relaxed: nobody marks, and who reads a tag meanwhile does not ask for these bits
void take_from_tag(size_t page, uint16_t tags) { __atomic_fetch_and(&tables.tags[page], static_cast<uint16_t>(~tags), __ATOMIC_RELAXED); }

template <uint16_t tags>
void forget_tags() {
  for_each_run<With<tags>>([](Range range) {
    for (uintptr_t at = range.start; at < range.end; at += kPageSize) take_from_tag((at - tables.start) >> kPageShift, tags);
  });
}

// Whether between cycles stores are noted, and page_states are kept.
bool stays = false;

// A span with more free places than one of so many is allocated from before the next cycle. Protected, each of its pages would cost
// a fault then, only to be scanned again.
constexpr size_t kFullEnough = 16;

bool is_full_enough(const Span *span) {
  const size_t objects = span->size_class.is_large() ? 1 : info(span->size_class).objects;
  return marked_objects(span) + objects / kFullEnough >= objects;
}

// What is old now, and was not written to while one marked, stays watched: it points to nothing but to what is old.
void unwatch_but_what_stays() {
  const size_t pages = tables.bytes >> kPageShift;
  bool full_enough = false;
  for (size_t page = 0; page < pages; ++page) {
    const uint16_t tag = tables.tags[page];
    if (tag == 0) continue;
    const PageId id{static_cast<uint32_t>(page)};
    const Span *span = page_map::at(id);
    if (span->first == id) full_enough = is_full_enough(span);
    if ((tag & kCycleTags) == 0) continue;
    const Range range{arena.address(id), arena.address(id) + kPageSize};
    const bool untouched = page_states::is_covered(range.start) && page_states::count(range, page_states::kTouched) == 0;
    take_from_tag(page, full_enough && untouched ? kYoungTag : kCycleTags);
  }
  page_states::take_runs(
      page_states::kProtected, [](uintptr_t page) { return !Watched::one(tag_of(arena.page_of(page))); },
      [](Range range, void *) { mutation::lift(range); }, nullptr);
}

void unwatch_all() {
  forget_tags<kCycleTags>();
  if (!stays) return mutation::unwatch();
  page_states::take_runs(
      page_states::kProtected, [](uintptr_t) { return true; }, [](Range range, void *) { mutation::lift(range); }, nullptr);
  mutation::lifted_all();
}

LateWatch late_watch;
bool late = false, minor_cycle = false;
uint64_t begun = 0;
struct Durations {
  uint64_t marking = 0, again = 0;
} durations;  // of a late cycle, until it has rescanned what was dirty for the first time

size_t scanned_pages() {
  size_t bytes = 0;
  for_each_run<Scanned>([&](Range run) { bytes += run.end - run.start; });
  return bytes / kOsPageSize;
}

void remember(Range dirty, void *) { page_states::add(dirty, page_states::kRemembered); }

}  // namespace

bool begin(bool minor, bool may_be_late) {
  if (minor) {
    forget_tags<kYoungTag>();
  } else {
    forget_tags<kCycleTags>();  // some are of a span that was being made when a signal's handler forked
  }
  block_digests::begin();  // without a mechanism, too: an overflow has everything scanned again
  const auto choice = static_cast<mutation::Choice>(options.gc_tracking.load(std::memory_order_relaxed));
  if (mutation::set_up(choice) == mutation::Mechanism::kNone) return stays = false;
  if (covered_bytes < tables.bytes) {
    mutation::cover({tables.start + covered_bytes, tables.start + tables.bytes});
    covered_bytes = tables.bytes;
  }
  stays = mutation::can_stay() && page_states::prepare();
  if (minor && !stays) return false;
  if (stays) page_states::take_away(page_states::kTouched | page_states::kRemembered);
  if (minor) for_each_run<Watched>([](Range range) { mutation::for_each_dirty(range, true, remember, nullptr); });
  late = !minor && may_be_late && mutation::clears() && late_watch.is_late();
  minor_cycle = minor;
  begun = os_calls::now();
  if (late) return true;
  if (watch_new([minor](Range range) {
        page_states::add(range, page_states::kProtected | (minor ? page_states::kRemembered : 0));
      })) {
    return true;
  }
  unwatch_all();
  return false;
}

void list_remembered(Marker &marker) {
  page_states::take_runs(
      page_states::kRemembered, [](uintptr_t) { return true; },
      [](Range range, void *to) { static_cast<Marker *>(to)->rescan_later(range.start, range.end); }, &marker);
}

namespace {

size_t fetch(Pass &pass, mutation::Visit visit) {
  for_each_run<Watched>([&](Range run) {
    for_each_slice(run, [&](Range range) { mutation::for_each_dirty(range, true, visit, &pass); });
  });
  // After what was watched, lest it be visited twice.
  if (!watch_new([&](Range range) {
        page_states::add(range, page_states::kProtected);
        visit(range, &pass);
      })) {
    return 0;  // the rest stays new, and dirty
  }
  return pass.pages;
}

}  // namespace

size_t list_running(Marker &marker, void (*drain)(void *context), void *context) {
  const uint64_t marked = os_calls::now();
  Pass pass{&marker, drain, context};
  const size_t pages = fetch(pass, list);
  drain(context);
  if (late) {
    durations = {marked - begun, os_calls::now() - marked};
  } else if (!minor_cycle) {
    late_watch.note_early(pages, scanned_pages());
  }
  return pages;
}

size_t rescan_running(Marker &marker, void (*between)(void *context), void *context) {
  Pass pass{&marker, between, context};
  const size_t pages = fetch(pass, rescan);
  if (late && durations.again != 0) late_watch.note_late(pages, scanned_pages(), durations.marking, durations.again);
  durations = {};
  return pages;
}

bool rescan_stopped(Marker &marker, size_t most) {
  Pass pass{&marker, nullptr, nullptr, 0, most};
  for_each_run<New>([&](Range range) { rescan(range, &pass); });
  for_each_run<Watched>([&](Range run) {
    for_each_slice(run, [&](Range range) {
      if (pass.pages <= most) mutation::for_each_dirty(range, false, rescan, &pass);
    });
  });
  return pass.pages <= most;
}

bool is_late() { return late; }

bool can_stay() { return stays && !late; }

void end(bool stay) {
  if (stay && stays) return unwatch_but_what_stays();
  unwatch_all();
}

void reset_in_child() {
  forget_tags<kCycleTags>();
  covered_bytes = 0;
  stays = false;
  page_states::take_away(page_states::kProtected);
  mutation::reset_in_child();
}

}  // namespace warren::gc::dirty_pages
