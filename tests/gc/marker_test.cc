// What the marker marks, how much it reads for it, and what it passes over. No cycle runs.
#include "gc/marker.h"

#include "gc/cycle.h"
#include "gc/dirty_pages.h"
#include "gc/heap.h"
#include "gc/pacing.h"
#include "gc/phase.h"
#include "gc/specials.h"
#include "gc/word_filter_x86_64.h"

#include "seed.h"

#include <gtest/gtest.h>

#include <vector>

namespace warren::gc {
namespace {

Slot slot_of(const void *object) {
  Slot slot{};
  EXPECT_TRUE(find_slot(address_of(object), slot));
  return slot;
}

uintptr_t *with_finalizer(size_t bytes) {
  void *object = heap::allocate(bytes, Kind::kScan);
  EXPECT_EQ(specials::set_finalizer(slot_of(object), [](void *, void *) {}, nullptr), 0);
  return static_cast<uintptr_t *>(object);
}

// What an object with a finalizer refers to lives though it does not itself, so it is read unmarked: each page once.
TEST(Rescan, ReadsALargeObjectWithAFinalizerPageByPage) {
  ASSERT_TRUE(cycle::set_up());
  constexpr size_t kWordsPerPage = kPageSize / sizeof(uintptr_t);
  uintptr_t *const object = with_finalizer(100 * kPageSize);
  void *referents[3];
  for (size_t i = 0; i < 3; ++i) {
    referents[i] = heap::allocate(48, Kind::kScan);
    object[(i + 1) * kWordsPerPage - (i == 0 ? 1 : kWordsPerPage)] = address_of(referents[i]);
  }
  // The last word of its first page, the first of the second, the first of the third.
  Marker marker;
  marker.rescan_page_range(address_of(object) + kPageSize, address_of(object) + 2 * kPageSize);
  EXPECT_EQ(marker.scanned_bytes(), kPageSize);
  EXPECT_FALSE(slot_of(referents[0]).is_marked());
  EXPECT_TRUE(slot_of(referents[1]).is_marked());
  EXPECT_FALSE(slot_of(referents[2]).is_marked());

  const uint64_t before = marker.scanned_bytes();
  marker.rescan_page_range(address_of(object), address_of(object) + 100 * kPageSize);
  EXPECT_EQ(marker.scanned_bytes() - before, 100 * kPageSize);
  for (const void *referent : referents) EXPECT_TRUE(slot_of(referent).is_marked());
}

TEST(Rescan, ReadsOfSmallOnesWhatLiesOnThePages) {
  ASSERT_TRUE(cycle::set_up());
  constexpr size_t kBytes = 3000;  // some of them lie on two pages
  for (int i = 0; i < 100; ++i) {
    uintptr_t *const object = with_finalizer(kBytes);
    const uintptr_t low = align_down(address_of(object), kOsPageSize), middle = low + kOsPageSize;
    const Slot slot = slot_of(object);
    const uintptr_t end = slot.object + object_size(slot);
    if (end <= middle) continue;
    void *const before = heap::allocate(48, Kind::kScan), *const behind = heap::allocate(48, Kind::kScan);
    object[0] = address_of(before);
    reinterpret_cast<uintptr_t *>(middle)[0] = address_of(behind);
    Marker marker;
    marker.rescan_page_range(middle, middle + kOsPageSize);
    EXPECT_FALSE(slot_of(before).is_marked());
    EXPECT_TRUE(slot_of(behind).is_marked());
    marker.rescan_page_range(low, middle);
    EXPECT_TRUE(slot_of(before).is_marked());
  }
}

// What is in the arena passes, at whatever place among the four, and what is 4 GiB away or more does not.
TEST(WordFilter, PassesWhatIsInTheArena) {
  Random random(seed());
  constexpr uintptr_t kFar = uintptr_t{4} << 30;
  for (const uintptr_t start : {uintptr_t{0x7f00'0000'0000}, uintptr_t{0x7ffe'ffff'e000}, uintptr_t{0xffff'f000}, uintptr_t{0x8000'0000'2000}}) {
    for (const size_t bytes : {size_t{kPageSize}, size_t{1} << 31, (size_t{1} << 32) + kPageSize, size_t{1} << 40}) {
      const WordFilter filter(start, bytes);
      const uintptr_t inside[] = {start, start + 1, start + bytes - 1, start + random() % bytes};
      const uintptr_t outside[] = {start - kFar, start + bytes + kFar, ~uintptr_t{0}, start + (uintptr_t{1} << 63)};
      for (unsigned mask = 0; mask < 16; ++mask) {
        uintptr_t words[WordFilter::kWords];
        for (unsigned i = 0; i < WordFilter::kWords; ++i) words[i] = (mask >> i & 1) != 0 ? inside[random() % 4] : outside[random() % 4];
        ASSERT_EQ(filter.candidates(address_of(words)), mask) << std::hex << start << " + " << bytes;
      }
    }
  }
}

// Nobody collects meanwhile, and nothing is left over.
bool set_up_alone() {
  if (!cycle::set_up()) return false;
  pacing::set_percent(-1);
  Marker marker;
  while (marker.drain(~uint32_t{0})) {
  }
  return true;
}

// Of graphs with edges near and far, exactly what can be reached is marked: for sizes whose objects lie in one page and in two, fill
// their span and leave a tail.
TEST(Drain, MarksWhatIsReachableAndNothingElse) {
  ASSERT_TRUE(set_up_alone());
  Random random(seed());
  for (const size_t bytes : {16, 24, 32, 48, 80, 112, 640, 3000, 9000, 30000, 100000}) {
    const size_t count = bytes < 1000 ? 4000 : 200;
    std::vector<uintptr_t *> objects(count);
    std::vector<std::vector<size_t>> edges(count);
    for (uintptr_t *&object : objects) object = static_cast<uintptr_t *>(heap::allocate(bytes, Kind::kScan));
    for (size_t i = 0; i < count; ++i) {
      for (size_t k = random() % 3; k != 0; --k) {
        const size_t near = (i + random() % 33 + count - 16) % count;
        const size_t to = random() % 4 != 0 ? near : random() % count;
        // Into the object, and sometimes to the end of the last one of its span, where nothing is.
        objects[i][random() % (bytes / 8)] = address_of(objects[to]) + random() % bytes;
      }
      for (size_t at = 0; at < bytes / 8; ++at) {
        for (size_t to = 0; to < count && objects[i][at] != 0; ++to) {
          if (objects[i][at] - address_of(objects[to]) < bytes) edges[i].push_back(to);
        }
      }
    }
    std::vector<bool> reachable(count);
    std::vector<size_t> rest{0};
    reachable[0] = true;
    while (!rest.empty()) {
      const size_t from = rest.back();
      rest.pop_back();
      for (const size_t to : edges[from]) {
        if (!reachable[to]) rest.push_back(to);
        reachable[to] = true;
      }
    }
    Marker marker;
    marker.discover(address_of(objects[0]) + bytes / 2);
    while (marker.drain(1000)) {
    }
    size_t marked_bytes = 0;
    for (size_t i = 0; i < count; ++i) {
      const Slot slot = slot_of(objects[i]);
      ASSERT_EQ(slot.is_marked(), reachable[i]) << bytes << " bytes, number " << i << " of " << count;
      if (reachable[i]) marked_bytes += object_size(slot);
      slot.unmark();
    }
    EXPECT_EQ(marker.marked_bytes(), marked_bytes) << "objects of " << bytes << " bytes scanned twice, or not at all";
  }
}

// Pages that one marker lists are scanned by whoever drains: of marked objects, and each page once.
TEST(Rescan, CanBeLeftToOthers) {
  ASSERT_TRUE(set_up_alone());
  constexpr size_t kPages = 37;  // more than one entry's
  auto *const object = static_cast<uintptr_t *>(heap::allocate(kPages * kOsPageSize - 1, Kind::kScan));
  std::vector<void *> referents(kPages);
  for (size_t i = 0; i < kPages; ++i) {
    referents[i] = heap::allocate(48, Kind::kScan);
    object[i * kOsPageSize / sizeof(uintptr_t) + i] = address_of(referents[i]);
  }
  const auto list = [&] {
    Marker marker;
    marker.rescan_later(address_of(object), address_of(object) + (kPages - 1) * kOsPageSize);
    EXPECT_EQ(marker.rescanned_bytes(), 0u);
  };
  list();
  Marker other;
  while (other.drain(5000)) {
  }
  EXPECT_EQ(other.rescanned_bytes(), 0u) << "of an object that is not marked";
  slot_of(object).mark();
  list();
  while (other.drain(5000)) {
  }
  EXPECT_EQ(other.rescanned_bytes(), (kPages - 1) * kOsPageSize);
  for (size_t i = 0; i < kPages; ++i) EXPECT_EQ(slot_of(referents[i]).is_marked(), i + 1 < kPages) << i;
}

// What a marker has in hand when it stops goes to the others.
TEST(Drain, GoesOnElsewhere) {
  ASSERT_TRUE(set_up_alone());
  constexpr size_t kCount = 20000;
  std::vector<uintptr_t *> objects(kCount);
  for (uintptr_t *&object : objects) object = static_cast<uintptr_t *>(heap::allocate(24, Kind::kScan));
  for (size_t i = 0; i < kCount; ++i) {
    for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < kCount; ++child) objects[i][child % 2] = address_of(objects[child]);
  }
  {
    Marker first;
    first.discover(address_of(objects[0]));
    first.drain(5000);
  }
  for (bool more = true; more;) {
    Marker other;
    more = other.drain(5000);
  }
  for (const uintptr_t *object : objects) ASSERT_TRUE(slot_of(object).is_marked());
}

// What a span that is made while marking is on holds is marked from the start, and a marker need not look. In the next cycle it must.
TEST(YoungSpans, AreThoseOfOneCycle) {
  ASSERT_TRUE(set_up_alone());
  constexpr size_t kBytes = 20000;  // a class of its own, so a new span
  phase::current.store(phase::Phase::kMark);
  void *const object = heap::allocate(kBytes, Kind::kScan);
  const Slot slot = slot_of(object);
  EXPECT_TRUE(slot.is_marked());
  EXPECT_NE(slot.tag & kYoungTag, 0);
  Slot found;
  EXPECT_FALSE(find_unmarked(address_of(object), found, tables));
  phase::current.store(phase::Phase::kSweep);
  slot.unmark();
  // Also when the cycle that it was young in did not come to its end, in a forked child.
  dirty_pages::begin(false, false);
  EXPECT_EQ(slot_of(object).tag & kYoungTag, 0);
  ASSERT_TRUE(find_unmarked(address_of(object), found, tables));
  EXPECT_EQ(found.object, address_of(object));
  dirty_pages::end(false);
}

}  // namespace
}  // namespace warren::gc
