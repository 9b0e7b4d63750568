// Free runs in lists by length, merged with their neighbours through the page map. See page_heap.h.
#include "allocator/page_heap.h"

#include "allocator/base/check.h"
#include "allocator/base/layout.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_memory.h"
#include "allocator/free_runs.h"
#include "allocator/growth.h"
#include "allocator/huge_pages.h"
#include "allocator/metadata.h"
#include "allocator/page_heap_figures.h"
#include "allocator/page_map.h"
#include "allocator/scavenger.h"
#include "allocator/tracts.h"

#include <algorithm>
#include <atomic>

namespace warren::page_heap {

constinit Mutex lock(LockRank::kPageHeap);
constinit std::atomic<uint32_t> stamp{0};
constinit std::atomic<bool> growth_refused{false};

namespace {

// The longest run that is ever asked for.
constexpr uint32_t kMaxRun = uint32_t{1} << 30;

constexpr uint64_t kNever = ~uint64_t{0};

constexpr uint32_t kHugePages = PageCount::covering(size_t{2} << 20).value;

FreeRuns warm GUARDED_BY(lock);
FreeRuns released GUARDED_BY(lock);
Span *tracts[kTracts] GUARDED_BY(lock) = {};  // what is left of each, in `released` as well
metadata::FixedAllocator<Span, metadata::Use::kReserved> span_allocator;
uint64_t span_count GUARDED_BY(lock) = 0;
uint64_t hole_pages GUARDED_BY(lock) = 0;
uint64_t large_pages GUARDED_BY(lock) = 0;
uint32_t moves GUARDED_BY(lock) = 0;

// The scavenger's.
uint64_t wake_at GUARDED_BY(lock) = kWakePages;   // warm pages
uint64_t least_warm GUARDED_BY(lock) = 0;         // since the last look
uint64_t scavenged_pages GUARDED_BY(lock) = 0;
uint16_t round GUARDED_BY(lock) = 1;              // of giving back: what is refused is not tried again in it

// The spans in the state kReleasing: one of the scavenger's, and one of whoever makes up for growth.
enum Purpose : unsigned { kScavenging, kGrowing, kPurposes };
struct Release {
  Span *span;
  const void *thread;  // that has it in its hands
};
Release releases[kPurposes] GUARDED_BY(lock) = {};

Growth growth GUARDED_BY(lock);

WARREN_SHOW_ADDRESS("page_heap.warm", &warm);
WARREN_SHOW_ADDRESS("page_heap.released", &released);
WARREN_SHOW_NUMBER("FreeRuns.pages", FreeRuns::Layout::kPages);
WARREN_SHOW_ADDRESS("page_heap.hole_pages", &hole_pages);
WARREN_SHOW_ADDRESS("page_heap.large_pages", &large_pages);
WARREN_SHOW_ADDRESS("page_heap.scavenged_pages", &scavenged_pages);

// used_pages() for who has not got the lock, stored by whoever has. relaxed: a figure that is a moment old serves as well.
std::atomic<uint64_t> used_pages_now{0};

// Of call_when_used().
UseMark use_mark GUARDED_BY(lock) = {kNever, nullptr}, next_use_mark GUARDED_BY(lock) = {kNever, nullptr};

void start_round() REQUIRES(lock) {
  if (++round == 0) round = 1;
}

uint64_t releasing_pages() REQUIRES(lock) {
  uint64_t pages = 0;
  for (const Release &release : releases) pages += release.span != nullptr ? release.span->count.value : 0;
  return pages;
}
uint64_t free_pages() REQUIRES(lock) { return warm.pages() + released.pages() + releasing_pages(); }
uint64_t used_pages() REQUIRES(lock) { return arena.end_page().value - hole_pages - free_pages(); }

// Pages that may have memory behind them, beyond what the option memlimit allows.
uint64_t pages_over_limit() REQUIRES(lock) {
  const uint64_t limit = options.memlimit.load(std::memory_order_relaxed);
  if (limit == kNoLimit) return 0;
  const uint64_t resident = used_pages() + warm.pages();
  return resident > limit >> kPageShift ? resident - (limit >> kPageShift) : 0;
}

// Whether the scavenger is to be woken now; the answer is yes only once.
bool much_is_warm() REQUIRES(lock) {
  if (WARREN_LIKELY(warm.pages() < wake_at) && (wake_at == kNever || warm.pages() < kWakePagesOverLimit || pages_over_limit() == 0)) {
    return false;
  }
  wake_at = kNever;
  least_warm = warm.pages();
  return true;
}

void note_use() REQUIRES(lock) {
  used_pages_now.store(used_pages(), std::memory_order_relaxed);
  while (WARREN_UNLIKELY(use_mark.pages != kNever) && used_pages() >= use_mark.pages) {
    use_mark.reached();
    use_mark = next_use_mark;
    next_use_mark.pages = kNever;
  }
}

void arm_locked() REQUIRES(lock) { wake_at = kWakePages + used_pages() / kWakePart; }

FreeRuns &runs_like(const Span *span) REQUIRES(lock) { return span->released ? released : warm; }

Span *new_span(PageId first, PageCount count, SpanState state) REQUIRES(lock) {
  Span *span = span_allocator.allocate();
  if (span == nullptr) return nullptr;
  ++span_count;
  *span = Span{};
  span->first = first;
  span->count = count;
  span->state = state;
  return span;
}

void delete_span(Span *span) REQUIRES(lock) {
  span->count = PageCount{0};  // stale page map entries must not find it alive
  span_allocator.free(span);
  --span_count;
}

// Out of its list, and no longer free: what is cut off must not merge with it again.
void take_out(Span *span) REQUIRES(lock) {
  runs_like(span).remove(span);
  span->state = SpanState::kLarge;
}

// The free run that starts or ends at `page`, in either state, if it is no tract's.
Span *free_run_at(PageId page) REQUIRES(lock) {
  if (page >= arena.end_page()) return nullptr;
  Span *span = page_map::at(page);
  return span != nullptr && span->state == SpanState::kFree && !span->in_tract ? span : nullptr;
}

// The same, if it is in the same state as `span`.
Span *mergeable(PageId page, const Span *span) REQUIRES(lock) {
  Span *neighbour = free_run_at(page);
  return neighbour != nullptr && neighbour->released == span->released ? neighbour : nullptr;
}

// Puts a run into its free list, merged with its neighbours. The surviving structure is `span`.
void insert_free(Span *span) REQUIRES(lock) {
  span->state = SpanState::kFree;
  span->size_class = SizeClass{0};
  span->refused_in = 0;
  span->warm_head = PageCount{0};
  if (Span *before = mergeable(PageId{span->first.value - 1}, span)) {
    runs_like(before).remove(before);
    span->first = before->first;
    span->count = span->count + before->count;
    span->zero = span->zero && before->zero;
    delete_span(before);
  }
  if (Span *after = mergeable(span->end(), span)) {
    runs_like(after).remove(after);
    span->count = span->count + after->count;
    span->zero = span->zero && after->zero;
    delete_span(after);
  }
  page_map::set_ends(span);
  runs_like(span).insert(span);
}

// Cuts a span that is in no list; the tail becomes a free run. Does nothing when there is no memory for the
// tail's structure: the span then stays longer than asked.
void cut_tail(Span *span, PageCount keep) REQUIRES(lock) {
  if (span->count == keep) return;
  Span *tail = new_span(span->first + keep, span->count - keep, SpanState::kFree);
  if (tail == nullptr) return;
  tail->released = span->released;
  tail->zero = span->zero;
  span->count = keep;
  page_map::set_ends(span);
  insert_free(tail);
}

void add_hole(PageId first, PageCount count) REQUIRES(lock) {
  hole_pages += count.value;
  if (Span *span = new_span(first, count, SpanState::kHole)) page_map::set_ends(span);
}

// Cuts a span that is in no list and keeps its tail; the head becomes a free run. As cut_tail otherwise.
Span *cut_head(Span *span, PageCount keep) REQUIRES(lock) {
  if (span->count == keep) return span;
  const PageCount head = span->count - keep;
  Span *tail = new_span(span->first + head, keep, span->state);
  if (tail == nullptr) return span;
  tail->released = span->released;
  tail->zero = span->zero;
  span->count = head;
  page_map::set_ends(tail);
  insert_free(span);
  return tail;
}

// A structure for each page of the arena is kept back, or else at a limit runs could not be cut, and whoever asked for a page would get
// all that is left.
WARREN_COLD bool keep_structures_back(PageId end) {
  MutexLock guard(metadata::lock);
  const size_t made = span_allocator.made();
  return end.value <= made || metadata::reserve((end.value - made) * sizeof(Span));
}

bool grow(PageCount pages) REQUIRES(lock) {
  Span *span = new_span(PageId{0}, PageCount{0}, SpanState::kFree);  // first, so that no grown page is without a span
  if (pages <= kMaxGrowth) growth_refused.store(true, std::memory_order_relaxed);  // until it is done
  if (span == nullptr) return false;
  PageCount wanted{arena.end_page().value / kGrowthPart};
  if (wanted > kMaxGrowth) wanted = kMaxGrowth;
  if (wanted < pages) wanted = pages;
  arena_growth::Grown grown = arena_growth::grow(wanted, keep_structures_back);
  if (grown.result != arena_growth::GrowResult::kGrown && wanted > pages) grown = arena_growth::grow(pages, keep_structures_back);
  if (grown.result != arena_growth::GrowResult::kGrown) {
    delete_span(span);
    return false;
  }
  growth_refused.store(false, std::memory_order_relaxed);
  if (grown.hole_count.value != 0) add_hole(grown.hole_first, grown.hole_count);
  huge_pages::note_growth(grown.first, grown.count);
  span->first = grown.first;
  span->count = grown.count;
  span->released = span->zero = true;
  insert_free(span);
  return true;
}

// A run that is in no list has been given back: into its list.
void insert_released(Span *span) REQUIRES(lock) {
  const PageId first = span->first;
  const PageCount count = span->count;
  span->released = span->zero = true;
  insert_free(span);
  huge_pages::note_released_run(span->first, span->count, first, count);
  if (span->count == count) return;
  // What it shares of the maps with its neighbours, which went before it, goes now. (Not looked at again: of 256 MB, given back by and
  // by, 3 to 21 stay. A region to either side: 0.7 to 5.)
  const uint32_t from = first.value - std::min<uint32_t>(kRegionPages, first.value - span->first.value);
  const uint32_t end = std::min((first + count).value + uint32_t{kRegionPages}, span->end().value);
  arena_growth::release_maps(PageId{from}, PageId{end} - PageId{from});
}

// What is left of a tract becomes a run like any other. False: there is nothing left.
bool leave_tract(Tract tract) REQUIRES(lock) {
  Span *rest = tracts[tract];
  if (rest == nullptr) return false;
  const PageId first = rest->first;
  const PageCount count = rest->count;
  tracts[tract] = nullptr;
  rest->in_tract = false;
  released.remove(rest);
  insert_free(rest);
  huge_pages::note_released_run(rest->first, rest->count, first, count);
  return true;
}

// What is without memory and does not lie at the end of the arena, where it grows.
uint64_t loose_pages() REQUIRES(lock) {
  const Span *last = page_map::at(PageId{arena.end_page().value - 1});
  const uint32_t at_end = last != nullptr && last->state == SpanState::kFree && last->released ? last->count.value : 0;
  return released.pages() - at_end;
}

bool much_is_loose() REQUIRES(lock) { return loose_pages() > kLoosePages + used_pages() / kLoosePart; }

// Out of its list: what is left of the tract, or else a new one of at least `pages`. nullptr: there is no run for it.
Span *take_tract(PageCount pages, Tract tract) REQUIRES(lock) {
  if (Span *rest = tracts[tract]; rest != nullptr && rest->count >= pages) {
    tracts[tract] = nullptr;
    rest->in_tract = false;
    take_out(rest);
    return rest;
  }
  leave_tract(tract);
  Span *span = nullptr;
  if (!much_is_loose()) span = released.find(PageCount{static_cast<uint32_t>(align_up(pages.value, kTractPages)) + kTractPages - 1});
  const bool has_whole = span != nullptr;
  if (!has_whole) span = released.find(pages);
  if (span == nullptr) return nullptr;
  take_out(span);
  if (has_whole) span = cut_head(span, span->end() - tract_boundary(span->first));
  const PageId end = tract_boundary(span->first + pages);
  if (end < span->end()) cut_tail(span, end - span->first);
  return span;
}

// As take(), from a tract, and in no list already. The rest of the tract is for the next span of its kind.
Span *take_from_tract(PageCount pages, Tract tract) REQUIRES(lock) {
  Span *span = take_tract(pages, tract);
  if (span == nullptr || span->count == pages) return span;
  if (Span *rest = new_span(span->first + pages, span->count - pages, SpanState::kFree)) {
    rest->released = rest->in_tract = true;
    rest->zero = span->zero;
    span->count = pages;
    page_map::set_ends(rest);
    released.insert(rest);
    tracts[tract] = rest;
  }
  return span;
}

// Gives the memory behind a run that is in no list back to the kernel.
bool give_back(Span *span) {
  if (!os_memory::release(at_address<void>(span->start()), span->bytes())) return false;
  arena_growth::release_maps(span->first, span->count);
  huge_pages::note_release(span->first, span->count);
  return true;
}

// Refusals in a row after which the rest is taken to be locked as well (mlockall).
constexpr unsigned kMostRefusals = 64;

// Gives warm runs back until `pages` more of them are gone or none is left that the kernel takes.
// A run that it refuses (locked pages) stays dirty, and warm.
size_t release_locked(uint64_t pages) REQUIRES(lock) {
  size_t bytes = 0;
  unsigned refusals = 0;
  start_round();
  while (bytes >> kPageShift < pages && refusals < kMostRefusals) {
    Span *span = warm.longest_releasable(round);
    if (span == nullptr) break;
    if (!give_back(span)) {
      span->refused_in = round;
      ++refusals;
      continue;
    }
    warm.remove(span);
    bytes += span->bytes();
    insert_released(span);
  }
  return bytes;
}

// Makes a span that is in no list longer, up to `end`, by the free runs behind it. Returns where the last warm one of them ends, or
// where the span starts.
PageId absorb(Span *span, PageId end) REQUIRES(lock) {
  PageId dirty_end = span->first;
  while (span->end() < end) {
    Span *next = page_map::at(span->end());
    take_out(next);
    if (end < next->end()) cut_tail(next, end - next->first);
    if (!next->released) dirty_end = next->end();
    span->count = span->count + next->count;
    delete_span(next);
  }
  page_map::set_ends(span);
  return dirty_end;
}

// A warm run that is too short, with free ones behind it, and before it where that is not enough, which are together long enough: fewer
// pages are touched anew, and what lies beside a part that went back is not too short for ever. In no list; nullptr when there is none.
Span *take_joined(PageCount pages) REQUIRES(lock) {
  if (warm.pages() <= pages.value / kJoinPart) return nullptr;
  FreeRuns::LongestFirst runs(warm, PageCount{pages.value / kJoinPart + 1});
  Span *longest, *leftmost;
  PageId end{};
  uint32_t looks = 0;
  do {
    longest = leftmost = runs.next();
    if (longest == nullptr) return nullptr;
    end = longest->end();
    while (leftmost != nullptr && end - leftmost->first < pages) {
      if (++looks == kMostJoined) return nullptr;
      if (const Span *behind = free_run_at(end); behind != nullptr) {
        end = behind->end();
      } else {
        leftmost = free_run_at(PageId{leftmost->first.value - 1});
      }
    }
  } while (leftmost == nullptr);
  const PageId begin = leftmost == longest ? longest->first : PageId{end.value - pages.value};
  take_out(leftmost);
  Span *span = begin == leftmost->first ? leftmost : cut_head(leftmost, leftmost->end() - begin);
  PageId dirty_end = span->released ? span->first : span->end();
  if (const PageId other = absorb(span, begin + pages); dirty_end < other) dirty_end = other;
  span->released = span->zero = false;
  if (span->count == pages) span->warm_head = dirty_end - span->first;
  return span;
}

// What other threads are giving back may be the part that is missing. False: there is no such.
bool wait_for_releases() REQUIRES(lock) {
  bool others = false;
  for (const Release &release : releases) others |= release.span != nullptr && release.thread != __builtin_thread_pointer();
  if (!others) return false;
  lock.unlock();
  os_calls::sleep(kWait);
  lock.lock();
  return true;
}

// A run of at least `pages`, out of its list; nullptr when there is none even after growing.
// `whole`: it is warm from end to end, or nowhere.
Span *take(PageCount pages, bool whole, Tract tract) REQUIRES(lock) {
  constexpr int kMostGrowths = 2;
  int growths = 0, waits = 0;
  bool is_released = false;
  for (;;) {
    Span *span = warm.find(pages);
    if (span != nullptr) {
      take_out(span);
    } else if (tract != kNoTract && used_pages() >= kTractsFrom) {
      span = take_from_tract(pages, tract);
    } else {
      if (!whole) span = take_joined(pages);
      if (span == nullptr && (span = released.find(pages)) != nullptr) take_out(span);
    }
    if (span != nullptr) {
      if (warm.pages() < least_warm) least_warm = warm.pages();
      return span;
    }
    if (growths < kMostGrowths && grow(pages)) {
      ++growths;
      continue;
    }
    // At a limit: nothing is kept for anybody, and runs that are merely in different states can become one.
    if (leave_tract(kOneRow) || leave_tract(kMoreRows)) continue;
    if (is_released && (waits++ == kMostWaits || pages.value > free_pages() || !wait_for_releases())) return nullptr;
    release_locked(kNever);
    is_released = true;
  }
}

void hand_out(Span *span, SpanState state, SizeClass size_class) REQUIRES(lock) {
  const bool was_released = span->released || span->warm_head.value != 0;
  span->released = false;
  span->state = state;
  span->size_class = size_class;
  span->since = stamp.load(std::memory_order_relaxed);
  if (state != SpanState::kLarge) {
    page_map::set_all(span);
  } else {
    page_map::set_ends(span);
    large_pages += span->count.value;
  }
  const uint64_t over = was_released ? pages_over_limit() : 0;
  if (WARREN_UNLIKELY(over != 0)) scavenged_pages += release_locked(over) >> kPageShift;
  note_use();
}

// How many warm pages are to go for those that are in use since a moment ago, of which `moved_in` bring their memory along.
uint64_t surplus_of_growth(PageCount moved_in) REQUIRES(lock) {
  const bool is_peak = growth.note(used_pages() - moved_in.value, warm.pages());
  if (WARREN_LIKELY(!is_peak) || !growth.may_give_back(warm.pages(), loose_pages())) return 0;
  if (options.scavenge_delay.load(std::memory_order_relaxed) == kNoLimit) return 0;
  return growth.give_back(warm.pages(), os_calls::process_time());
}

void free_locked(Span *span) REQUIRES(lock) {
  if (span->state == SpanState::kLarge) large_pages -= span->count.value;
  span->zero = false;
  insert_free(span);
  used_pages_now.store(used_pages(), std::memory_order_relaxed);
}

// Gives back one warm run of up to `most` pages, without the lock while the kernel works. Returns what went.
PageCount release_one(Purpose purpose, PageCount most) EXCLUDES(lock) {
  Span *span;
  Release &release = releases[purpose];
  {
    MutexLock guard(lock);
    if (purpose == kGrowing && release.span != nullptr) return PageCount{0};  // another thread grows as well
    span = warm.longest_releasable(round);
    if (span == nullptr) return PageCount{0};
    warm.remove(span);
    span->state = SpanState::kReleasing;  // what is cut off must not merge with it again
    // From the end, and cut where huge pages are, so that each goes as a whole.
    PageCount part = most;
    const uint32_t past_boundary = span->end().value % kHugePages;
    if (past_boundary != 0 && past_boundary < part.value) part.value = past_boundary;
    if (part < span->count) span = cut_head(span, part);
    release = {span, __builtin_thread_pointer()};
  }
  const PageCount pages = span->count;
  const bool gone = give_back(span);
  MutexLock guard(lock);
  release.span = nullptr;
  if (gone) {
    scavenged_pages += pages.value;
    insert_released(span);
  } else {
    insert_free(span);
    span->refused_in = round;
    if (purpose == kGrowing) growth.refused(os_calls::process_time());
  }
  return gone ? pages : PageCount{0};
}

// Before the new pages are touched.
WARREN_COLD void make_up_for_growth(uint64_t pages) EXCLUDES(lock) {
  while (pages != 0) {
    const PageCount most{static_cast<uint32_t>(std::min<uint64_t>(pages, kGrowthBatch.value))};
    const uint64_t gone = release_one(kGrowing, most).value;
    if (gone == 0) return;
    pages -= std::min(gone, pages);
  }
}

// Runs what puts more pages in use, if it succeeds.
template <class Take>
auto with_growth(PageCount moved_in, Take take) EXCLUDES(lock) {
  uint64_t surplus = 0;
  decltype(take()) taken;
  {
    MutexLock guard(lock);
    taken = take();
    if (taken) surplus = surplus_of_growth(moved_in);
  }
  if (WARREN_UNLIKELY(surplus != 0)) make_up_for_growth(surplus);
  return taken;
}

Span *allocate_locked(PageCount pages, SpanState state, SizeClass size_class) REQUIRES(lock) {
  Span *span = take(pages, false, tract_for(state, size_class));
  if (span == nullptr) return nullptr;
  if (state == SpanState::kObjects && !span->released) {
    // From the end of a warm run: its start is where a large block was, and stays free for longer, so
    // that a second free of that block is still recognised.
    span = cut_head(span, pages);
  } else {
    cut_tail(span, pages);
  }
  hand_out(span, state, size_class);
  return span;
}

Span *allocate_aligned_locked(PageCount pages, size_t align) REQUIRES(lock) {
  const PageCount slack{static_cast<uint32_t>((align >> kPageShift) - 1)};
  if (align >> kPageShift > kMaxRun || slack.value > kMaxRun - pages.value) return nullptr;
  Span *span = take(pages + slack, true, kNoTract);
  if (span == nullptr) return nullptr;
  const PageCount head = arena.page_of(align_up(span->start(), align)) - span->first;
  span = cut_head(span, span->count - head);
  if (span->start() % align != 0) {  // no memory to cut
    insert_free(span);
    return nullptr;
  }
  cut_tail(span, pages);
  hand_out(span, SpanState::kLarge, SizeClass{0});
  return span;
}

}  // namespace

Span *allocate(PageCount pages, SpanState state, SizeClass size_class, PageCount moved_in) {
  return with_growth(moved_in, [=]() REQUIRES(lock) { return allocate_locked(pages, state, size_class); });
}

Span *allocate_aligned(PageCount pages, size_t align) {
  return with_growth(PageCount{0}, [=]() REQUIRES(lock) { return allocate_aligned_locked(pages, align); });
}

void free(Span *span) {
  bool wake;
  {
    MutexLock guard(lock);
    free_locked(span);
    wake = much_is_warm();
  }
  if (WARREN_UNLIKELY(wake)) scavenger::wake();
}

namespace {

bool resize_locked(Span *span, PageCount pages) REQUIRES(lock) {
  const PageCount before = span->count;
  span->zero = false;
  if (pages > before) {
    const PageId end = span->first + pages;
    for (PageId at = span->end(); at < end;) {
      if (at >= arena.end_page()) return false;
      const Span *after = page_map::at(at);
      for (const Tract tract : {kOneRow, kMoreRows}) {
        if (after != nullptr && after == tracts[tract] && leave_tract(tract)) after = page_map::at(at);
      }
      if (after == nullptr || after->state != SpanState::kFree) return false;
      at = after->end();
    }
    absorb(span, end);
  }
  cut_tail(span, pages);
  if (warm.pages() < least_warm) least_warm = warm.pages();
  page_map::set_ends(span);
  large_pages += span->count.value;
  large_pages -= before.value;
  note_use();
  return true;
}

}  // namespace

bool resize(Span *span, PageCount pages) {
  bool wake = false;
  const bool resized = with_growth(PageCount{0}, [&]() REQUIRES(lock) {
    const bool done = resize_locked(span, pages);
    wake = much_is_warm();
    return done;
  });
  if (WARREN_UNLIKELY(wake)) scavenger::wake();
  return resized;
}

MoveResult move(Span *from, Span *to, PageCount pages) {
  MutexLock guard(lock);
  if (moves == kMaxMoves) return MoveResult::kNotMoved;
  ++moves;
  switch (os_memory::move_pages(at_address<void>(from->start()), at_address<void>(to->start()), pages.bytes())) {
    case os_memory::MoveResult::kMoved: break;
    case os_memory::MoveResult::kNotMoved: return MoveResult::kNotMoved;
    case os_memory::MoveResult::kDestinationLost:
      large_pages -= to->count.value;
      hole_pages += to->count.value;
      to->state = SpanState::kHole;
      return MoveResult::kDestinationLost;
  }
  large_pages -= from->count.value;
  cut_tail(from, pages);  // the pages behind it that did not move are as dirty as before
  from->released = from->zero = from->count == pages;  // longer where there was no memory to cut it
  insert_free(from);
  return MoveResult::kMoved;
}

size_t used_bytes() { return used_pages_now.load(std::memory_order_relaxed) << kPageShift; }

size_t release_all() {
  MutexLock guard(lock);
  return release_locked(kNever);
}

PageCount scavenge(PageCount most) { return release_one(kScavenging, most); }

WarmMemory take_warm_memory() {
  MutexLock guard(lock);
  const WarmMemory now{warm.pages(), least_warm, used_pages(), pages_over_limit()};
  least_warm = warm.pages();
  start_round();
  return now;
}

void arm() {
  MutexLock guard(lock);
  arm_locked();
}

bool arm_when_little_is_warm(uint64_t kept_pages, uint64_t kept_part) {
  MutexLock guard(lock);
  if (warm.pages() > kept_pages + used_pages() / kept_part) return false;
  arm_locked();
  return true;
}

void arm_later() {
  MutexLock guard(lock);
  arm_locked();
  if (wake_at < 2 * warm.pages()) wake_at = 2 * warm.pages();
}

void call_when_used(UseMark first, UseMark second) {
  MutexLock guard(lock);
  use_mark = first;
  next_use_mark = second;
}

void reset_in_child() {
  MutexLock guard(lock);
  for (Release &release : releases) {
    // Forked in a handler that interrupted the release itself: the thread goes on with it in both processes.
    if (release.span == nullptr || release.thread == __builtin_thread_pointer()) continue;
    insert_free(release.span);  // what it contains is unknown
    release.span = nullptr;
  }
  arm_locked();
}

PageState describe(PageId page) {
  MutexLock guard(lock);
  const Span *span = page_map::find(page);
  if (span == nullptr) return PageState{};
  return PageState{true, span->state, span->size_class, span->start(), span->bytes()};
}

Stats stats() {
  MutexLock guard(lock);
  const uint64_t grown = arena.end_page().value;
  return Stats{grown - hole_pages, free_pages(), released.pages(), large_pages, span_count, scavenged_pages};
}

}  // namespace warren::page_heap
