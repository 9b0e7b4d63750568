// Random operations on the page heap against a model of it that is too simple to be wrong: a map of free runs.
// Run as a test of its own; WARREN_SEED repeats a run, WARREN_SOAK=n makes it n times (1: 20 times) as long.
// Invariant: after every operation the page heap's free runs, read from the page map, are those of the model, and the
// choice among them was the tightest warm run, else one that is a fair part together with the free ones beside it, else the tightest
// untouched one, else growth; for spans of small objects what is left of their tract comes after the first. Contents are checked:
// memory said to be zero is, and moved memory has come along. Nothing goes back for growth: that hangs on the clock.
#include "allocator/base/options.h"
#include "allocator/heap.h"
#include "allocator/page_heap.h"
#include "tests/allocator/own_process.h"
#include "tests/allocator/page_walk.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <vector>

namespace warren {
namespace {

struct Run {
  uint32_t count;
  bool released;
  bool zero;
  bool in_tract = false;
};

constexpr uint32_t kTractPages = 16, kTractsFrom = 32;
constexpr uint32_t tract_boundary(uint32_t page) { return (page + kTractPages - 1) / kTractPages * kTractPages; }

class Model {
 public:
  // A run comes back, or appears.
  void insert(uint32_t first, Run run) {
    auto [at, inserted] = runs_.emplace(first, run);
    ASSERT_TRUE(inserted);
    if (at != runs_.begin()) at = merged(std::prev(at), at);
    if (std::next(at) != runs_.end()) merged(at, std::next(at));
  }

  // The part [first, first + count) of a free run has been taken; returns the run it was in.
  Run cut(uint32_t first, uint32_t count) {
    auto at = runs_.upper_bound(first);
    if (at == runs_.begin()) {
      ADD_FAILURE() << "page " << first << " was not free";
      return {};
    }
    --at;
    const uint32_t start = at->first;
    const Run run = at->second;
    if (first < start || first + count > start + run.count) {
      ADD_FAILURE() << count << " pages at " << first << " were not free";
      return run;
    }
    runs_.erase(at);
    if (first > start) runs_[start] = {first - start, run.released, run.zero};
    const uint32_t end = start + run.count;
    if (first + count < end) runs_[first + count] = {end - first - count, run.released, run.zero};
    return run;
  }

  // Pages from this one to the end of its run.
  uint32_t rest_of_run(uint32_t page) const {
    auto at = runs_.upper_bound(page);
    if (at == runs_.begin()) return 0;
    --at;
    const uint32_t end = at->first + at->second.count;
    return page < end ? end - page : 0;
  }

  // What was taken of several runs.
  struct Taken {
    uint32_t runs = 0;
    uint32_t first_run = 0;     // length that the first of them had
    bool first_whole = false;   // from its start
    uint32_t longest_warm = 0;  // length that a warm one had
    uint32_t dirty = 0;         // pages up to the end of the last warm one
    bool released = true, zero = true;  // all of them
  };

  // As cut(), of as many runs as it is.
  Taken cut_all(uint32_t first, uint32_t count) {
    Taken taken;
    for (uint32_t at = first; at < first + count;) {
      const auto [start, whole] = run_around(at);
      const uint32_t part = std::min(first + count, start + whole.count) - at;
      if (taken.runs++ == 0) {
        taken.first_run = whole.count;
        taken.first_whole = start == first;
      }
      EXPECT_FALSE(whole.in_tract);
      const Run run = cut(at, part);
      if (run.count == 0) return taken;
      at += part;
      taken.released = taken.released && run.released;
      taken.zero = taken.zero && run.zero;
      if (!run.released) {
        taken.longest_warm = std::max(taken.longest_warm, whole.count);
        taken.dirty = at - first;
      }
    }
    return taken;
  }

  // Free pages from this one on, in runs of either state but no tract's.
  uint32_t free_from(uint32_t page) const {
    uint32_t end = page;
    for (;;) {
      const auto [start, run] = run_around(end);
      if (run.count == 0 || run.in_tract) return end - page;
      end = start + run.count;
    }
  }

  // Whether a warm run and what is free beside it are long enough; `runs`: how many warm ones might be the one.
  bool joinable(uint32_t pages, uint32_t *runs) const {
    bool found = false;
    *runs = 0;
    for (auto at = runs_.begin(); at != runs_.end(); ++at) {
      if (at->second.released || at->second.count < pages / 8 + 1) continue;
      ++*runs;
      auto leftmost = at;
      while (leftmost != runs_.begin()) {
        const auto before = std::prev(leftmost);
        if (before->first + before->second.count != leftmost->first || before->second.in_tract) break;
        leftmost = before;
      }
      found = found || free_from(leftmost->first) >= pages;
    }
    return found;
  }

  // Length of the tightest run in that state, 0 for none.
  uint32_t tightest(uint32_t pages, bool released) const {
    uint32_t best = 0;
    for (const auto &[first, run] : runs_) {
      if (run.released == released && !run.in_tract && run.count >= pages && (best == 0 || run.count < best)) best = run.count;
    }
    return best;
  }

  // What is left of a tract, 0 for nothing, and where it begins.
  uint32_t left_of_tract(unsigned kind) const { return tracts_[kind] == 0 ? 0 : runs_.at(tracts_[kind]).count; }
  uint32_t tract_start(unsigned kind) const { return tracts_[kind]; }

  void leave_tract(unsigned kind) {
    if (tracts_[kind] == 0) return;
    const uint32_t first = tracts_[kind];
    Run run = runs_[first];
    runs_.erase(first);
    run.in_tract = false;
    tracts_[kind] = 0;
    insert(first, run);
  }

  // Of untouched pages of one run.
  void make_tract(unsigned kind, uint32_t first, uint32_t end) {
    const Run run = cut(first, end - first);
    runs_[first] = {end - first, run.released, run.zero, true};
    tracts_[kind] = first;
  }

  Run cut_from_tract(unsigned kind, uint32_t pages) {
    const uint32_t first = tracts_[kind];
    const Run run = runs_[first];
    runs_.erase(first);
    tracts_[kind] = 0;
    if (run.count > pages) {
      tracts_[kind] = first + pages;
      runs_[first + pages] = {run.count - pages, run.released, run.zero, true};
    }
    return run;
  }

  // The run that a page is in, or none.
  std::pair<uint32_t, Run> run_around(uint32_t page) const {
    auto at = runs_.upper_bound(page);
    if (at == runs_.begin()) return {};
    --at;
    if (page >= at->first + at->second.count) return {};
    return *at;
  }

  // Without memory, but not at the end of the arena.
  uint32_t loose_pages(uint32_t end) const {
    uint32_t pages = 0;
    for (const auto &[first, run] : runs_) pages += run.released && first + run.count != end ? run.count : 0;
    return pages;
  }

  uint32_t free_pages() const {
    uint32_t pages = 0;
    for (const auto &[first, run] : runs_) pages += run.count;
    return pages;
  }

  uint32_t free_behind(uint32_t page) const {
    const auto at = runs_.find(page);
    return at == runs_.end() ? 0 : at->second.count;
  }

  bool has_warm_run_at(uint32_t page) const {
    const auto at = runs_.find(page);
    return at != runs_.end() && !at->second.released;
  }

  uint64_t release_all() {
    uint64_t pages = 0;
    std::map<uint32_t, Run> before;
    before.swap(runs_);
    for (auto &[first, run] : before) {
      if (!run.released) pages += run.count;
      run.released = run.zero = true;
      insert(first, run);
    }
    return pages;
  }

  size_t long_runs() const {
    size_t count = 0;
    for (const auto &[first, run] : runs_) count += run.count >= 128;
    return count;
  }

  const std::map<uint32_t, Run> &runs() const { return runs_; }

 private:
  using At = std::map<uint32_t, Run>::iterator;

  // Makes one of two runs that touch and are alike; returns where the first one now is.
  At merged(At first, At second) {
    if (first->first + first->second.count != second->first || first->second.released != second->second.released ||
        first->second.in_tract || second->second.in_tract) {
      return second;
    }
    first->second.count += second->second.count;
    first->second.zero = first->second.zero && second->second.zero;
    runs_.erase(second);
    return first;
  }

  std::map<uint32_t, Run> runs_;
  uint32_t tracts_[2] = {};
};

class Player {
 public:
  explicit Player(unsigned seed) : random_(seed) {}

  void play(int steps) {
    for (int step = 0; step < steps; ++step) {
      SCOPED_TRACE(step);
      one_step();
      compare();
      if (::testing::Test::HasFailure()) return;
    }
    while (!owned_.empty()) free_at(0);
    compare();
  }

 private:
  struct Owned {
    Span *span;
    uint64_t stamp;
  };

  void one_step() {
    const uint32_t roll = below(100);
    if (owned_.size() > 80) return free_at(below(owned_.size()));
    if (roll < 35) return allocate(SpanState::kLarge);
    if (roll < 42) return allocate(SpanState::kObjects);
    if (roll < 50) return allocate_small();
    if (roll < 55) return allocate_aligned();
    if (owned_.empty()) return;
    const size_t at = below(owned_.size());
    if (roll < 85) return free_at(at);
    if (roll < 99) return owned_[at].span->state != SpanState::kLarge ? free_at(at) : roll < 93 ? resize(at) : move(at);
    EXPECT_EQ(page_heap::release_all(), model_.release_all() * kPageSize);
  }

  uint32_t below(size_t bound) { return static_cast<uint32_t>(random_() % bound); }

  uint32_t some_length() {
    static constexpr uint32_t kMost[] = {2, 8, 40, 130, 700};
    return 1 + below(kMost[below(std::size(kMost))]);
  }

  // What the arena grew by since the last look is free and untouched.
  void see_growth() {
    const uint32_t end = arena.end_page().value;
    if (end != grown_) model_.insert(grown_ == 0 ? 1 : grown_, {end - (grown_ == 0 ? 1 : grown_), true, true});
    grown_ = end;
  }

  void allocate(SpanState state) {
    const uint32_t pages = some_length();
    const uint32_t warm = model_.tightest(pages, false), untouched = model_.tightest(pages, true);
    uint32_t candidates;
    const bool joinable = model_.joinable(pages, &candidates) && candidates <= 2 && model_.runs().size() < 30;
    Span *span = page_heap::allocate(PageCount{pages}, state,
                                     SizeClass{static_cast<uint8_t>(state == SpanState::kObjects ? 40 : 0)});
    ASSERT_NE(span, nullptr);
    ASSERT_EQ(span->count.value, pages);
    if (warm != 0 || untouched != 0 || joinable) {
      EXPECT_EQ(arena.end_page().value, grown_) << "grew with a free run at hand";
    }
    see_growth();
    const bool from_tail = warm != 0 && state == SpanState::kObjects;
    take(span, warm, untouched, joinable, from_tail);
    own(span);
  }

  // Some spans of small objects, which come from a tract where nothing warm will do.
  void allocate_small() {
    const unsigned kind = below(2);
    for (uint32_t rest = 1 + below(8); rest != 0; --rest) {
      const uint32_t pages = 1 + below(below(4) == 0 ? 40 : 3);
      const uint32_t warm = model_.tightest(pages, false);
      const bool tracts = grown_ != 0 && grown_ - model_.free_pages() >= kTractsFrom;
      const bool at_hand = tracts && warm == 0 && model_.left_of_tract(kind) >= pages;
      if (tracts && warm == 0 && !at_hand) model_.leave_tract(kind);
      const uint32_t untouched = model_.tightest(pages, true);
      uint32_t candidates;
      const bool joinable = model_.joinable(pages, &candidates) && candidates <= 2 && model_.runs().size() < 30;
      bool loose = tracts && model_.loose_pages(grown_) > 64 + (grown_ - model_.free_pages()) / 32;
      Span *span = page_heap::allocate(PageCount{pages}, SpanState::kObjects, SizeClass{static_cast<uint8_t>(kind == 0 ? 6 : 7)});
      ASSERT_NE(span, nullptr);
      ASSERT_EQ(span->count.value, pages);
      if (warm != 0 || at_hand || untouched != 0) {
        EXPECT_EQ(arena.end_page().value, grown_) << "grew with a free run at hand";
      }
      see_growth();
      if (warm != 0 || !tracts) {
        take(span, warm, untouched, joinable, warm != 0);
      } else {
        if (untouched == 0) loose = model_.loose_pages(grown_) > 64 + (grown_ - model_.free_pages()) / 32;
        take_from_tract(span, kind, at_hand, loose);
      }
      own(span);
      compare();
    }
  }

  void take_from_tract(const Span *span, unsigned kind, bool at_hand, bool loose) {
    const uint32_t first = span->first.value, pages = span->count.value;
    if (!at_hand) {
      uint32_t tightest = loose ? 0 : model_.tightest(tract_boundary(pages) + kTractPages - 1, true);
      const bool whole = tightest != 0;
      if (!whole) tightest = model_.tightest(pages, true);
      const auto [start, run] = model_.run_around(first);
      ASSERT_TRUE(run.released && !run.in_tract);
      if (model_.long_runs() < 16) {
        EXPECT_EQ(run.count, tightest) << "not the tightest";
      }
      EXPECT_EQ(first, whole ? tract_boundary(start) : start);
      model_.make_tract(kind, first, std::min(tract_boundary(first + pages), start + run.count));
    }
    ASSERT_EQ(first, model_.tract_start(kind));
    EXPECT_EQ(span->zero, model_.cut_from_tract(kind, pages).zero);
    EXPECT_EQ(span->warm_head.value, 0u);
  }

  void take(Span *span, uint32_t warm, uint32_t untouched, bool joinable, bool from_tail) {
    const uint32_t pages = span->count.value;
    const Model::Taken taken = model_.cut_all(span->first.value, pages);
    const bool is_small = model_.long_runs() < 16;
    if (warm != 0) {
      EXPECT_EQ(taken.runs, 1u);
      EXPECT_FALSE(taken.released) << "a warm run would have done";
      if (is_small) {
        EXPECT_EQ(taken.first_run, warm) << "not the tightest";
      }
    } else if (taken.released) {
      EXPECT_FALSE(joinable) << "a warm run was left that would have done with its neighbours";
      EXPECT_EQ(taken.runs, 1u);
      if (untouched != 0 && is_small) {
        EXPECT_EQ(taken.first_run, untouched) << "not the tightest";
      }
    } else {
      EXPECT_GE(taken.longest_warm * 8 * 8, pages * 7) << "a warm run too short to be worth it";
      EXPECT_TRUE(taken.first_whole || model_.free_from(span->end().value) == 0) << "runs before it, with room behind";
    }
    EXPECT_EQ(span->zero, taken.zero);
    if (taken.released || taken.runs == 1) {
      EXPECT_TRUE(span->warm_head.value == 0 || (span->warm_head == span->count && !taken.released));
    } else {
      EXPECT_EQ(span->warm_head.value, taken.dirty);
    }
    if (from_tail) {
      EXPECT_FALSE(model_.has_warm_run_at(span->end().value)) << "not the end of the run";
    }
  }

  void allocate_aligned() {
    const uint32_t pages = some_length();
    const size_t align = (2 * kPageSize) << (below(8));
    Span *span = page_heap::allocate_aligned(PageCount{pages}, align);
    ASSERT_NE(span, nullptr);
    ASSERT_EQ(span->start() % align, 0u);
    ASSERT_EQ(span->count.value, pages);
    see_growth();
    EXPECT_EQ(span->zero, model_.cut(span->first.value, pages).zero);
    own(span);
  }

  void resize(size_t at) {
    Span *span = owned_[at].span;
    expect_stamps(owned_[at]);
    const uint32_t before = span->count.value, wanted = some_length();
    bool possible = true;
    for (uint32_t page = span->end().value; possible && page < span->first.value + wanted;) {
      for (unsigned kind : {0u, 1u}) {
        if (model_.tract_start(kind) == page) model_.leave_tract(kind);
      }
      const uint32_t room = model_.rest_of_run(page);
      possible = room != 0;
      page += room;
    }
    ASSERT_EQ(page_heap::resize(span, PageCount{wanted}), possible);
    ASSERT_EQ(span->count.value, possible ? wanted : before);
    if (possible && wanted > before) model_.cut_all(span->first.value + before, wanted - before);
    if (possible && wanted < before) model_.insert(span->first.value + wanted, {before - wanted, false, false});
    owned_[at].span->zero = false;
    stamp(owned_[at]);
  }

  void move(size_t at) {
    Span *from = owned_[at].span;
    expect_stamps(owned_[at]);
    const uint32_t pages = from->count.value, first = from->first.value;
    const uint32_t longer = pages + below(4);
    Span *to = page_heap::allocate(PageCount{longer}, SpanState::kLarge, SizeClass{0});
    ASSERT_NE(to, nullptr);
    see_growth();
    model_.cut_all(to->first.value, longer);
    ASSERT_EQ(page_heap::move(from, to, PageCount{pages}), page_heap::MoveResult::kMoved);
    to->zero = false;
    model_.insert(first, {pages, true, true});
    owned_[at].span = to;
    for (uint32_t page = 0; page < pages; ++page)
      ASSERT_EQ(*word(to, page), owned_[at].stamp + page) << "did not come along";
    stamp(owned_[at]);
  }

  void free_at(size_t at) {
    expect_stamps(owned_[at]);
    Span *span = owned_[at].span;
    const uint32_t first = span->first.value, count = span->count.value;
    page_heap::free(span);
    model_.insert(first, {count, false, false});
    owned_[at] = owned_.back();
    owned_.pop_back();
  }

  void own(Span *span) {
    if (span->zero || span->warm_head.value != 0) {
      ASSERT_LE(span->warm_head, span->count);
      for (uint32_t page = span->warm_head.value; page < span->count.value; ++page) {
        for (size_t i = 0; i < kPageSize / sizeof(uint64_t); i += 8)
          ASSERT_EQ(word(span, page)[i], 0u) << "said to be zero";
      }
    }
    span->zero = false;
    owned_.push_back({span, 0});
    stamp(owned_.back());
  }

  static uint64_t *word(const Span *span, uint32_t page) {
    return at_address<uint64_t>(span->start() + page * kPageSize);
  }

  void stamp(Owned &owned) {
    owned.stamp = random_() | uint64_t{1} << 40;
    for (uint32_t page = 0; page < owned.span->count.value; ++page) *word(owned.span, page) = owned.stamp + page;
  }

  void expect_stamps(const Owned &owned) {
    for (uint32_t page = 0; page < owned.span->count.value; ++page) {
      ASSERT_EQ(*word(owned.span, page), owned.stamp + page)
          << "page " << page << " of the span at " << owned.span->first.value;
    }
  }

  void compare() {
    auto expected = model_.runs().begin();
    for (const WalkedSpan &span : walk_pages()) {
      if (span.state != SpanState::kFree) continue;
      ASSERT_NE(expected, model_.runs().end()) << "a run at " << span.first << " too many";
      ASSERT_EQ(span.first, expected->first);
      ASSERT_EQ(span.count, expected->second.count) << "at " << span.first;
      ASSERT_EQ(span.released, expected->second.released) << "at " << span.first;
      ASSERT_EQ(span.zero, expected->second.zero) << "at " << span.first;
      ++expected;
    }
    ASSERT_EQ(expected, model_.runs().end()) << "a run is missing";
  }

  std::mt19937 random_;
  Model model_;
  std::vector<Owned> owned_;
  uint32_t grown_ = 0;
};

int rounds() {
  const char *soak = getenv("WARREN_SOAK");
  const int times = soak == nullptr ? 0 : atoi(soak);
  return 12 * (times == 0 ? 1 : times == 1 ? 20 : times);
}

TEST(PageHeapModel, RandomOperations) {
  const char *given = getenv("WARREN_SEED");
  for (int round = 0; round < rounds(); ++round) {
    const unsigned seed = given != nullptr ? static_cast<unsigned>(strtoul(given, nullptr, 0)) : std::random_device{}();
    in_own_process([seed] {
      ASSERT_TRUE(heap::set_up());
      options.scavenge_delay = kNoLimit;
      Player(seed).play(1500);
      if (::testing::Test::HasFailure()) printf("WARREN_SEED=%u repeats this\n", seed);
    });
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace warren
