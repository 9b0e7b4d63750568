// How much the marker reads, and what it finds there, when pages are scanned again. No cycle runs.
#include "gc/marker.h"

#include "gc/cycle.h"
#include "gc/dirty_pages.h"
#include "gc/heap.h"
#include "gc/phase.h"
#include "gc/specials.h"

#include <gtest/gtest.h>

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

// What a span that is made while marking is on holds is marked from the start, and a marker need not look. In the next cycle it must.
TEST(YoungSpans, AreThoseOfOneCycle) {
  ASSERT_TRUE(cycle::set_up());
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
  dirty_pages::begin();
  EXPECT_EQ(slot_of(object).tag & kYoungTag, 0);
  ASSERT_TRUE(find_unmarked(address_of(object), found, tables));
  EXPECT_EQ(found.object, address_of(object));
  dirty_pages::end();
}

}  // namespace
}  // namespace warren::gc
