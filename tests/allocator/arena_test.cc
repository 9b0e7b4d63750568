// The address space of the heap and its growth: allocator/arena.h. Run as a test of its own.
// Invariant: each test claims an arena of its own; what is said to be mapped is touched, what is somebody else's is
// found unharmed.
#include "allocator/arena.h"

#include "allocator/base/options.h"
#include "allocator/block.h"
#include "allocator/heap.h"
#include "tests/allocator/own_process.h"
#include "tests/allocator/page_walk.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace warren {
namespace {

using arena_growth::Grown;
using arena_growth::GrowResult;
using ::testing::KilledBySignal;

constexpr uint32_t kStepPages = kStepSize >> kPageShift;
constexpr size_t kHuge = size_t{2} << 20;

void *map_at(uintptr_t address, size_t bytes, int protection) {
  return mmap(at_address<void>(address), bytes, protection,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
}

size_t mapped_bytes() {
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * kOsPageSize;
}

uintptr_t grown_end() { return arena.start + arena.grown_bytes(); }

// Every part of the maps that belongs to the pages, and the pages' ends, can be written.
void touch(PageId first, PageCount count) {
  const uintptr_t start = arena.address(first), last = start + count.bytes() - 1;
  for (const uintptr_t address : {start, last}) {
    *at_address<char>(address) = 1;
    *object_map::fine(address) = 0;
    *object_map::coarse(address) = 0;
    arena.page_map[arena.page_of(address).value] = nullptr;
    arena.bits(arena.page_of(address))[kBitmapBytesPerPage / 8 - 1] = 0;
    arena.free_bits(arena.page_of(address), 512)[kFreeBitsBytesPerPage / 8 - 1] = 0;
  }
}

TEST(Arena, BeforeSetUpNothingIsContained) {
  in_own_process([] {
    EXPECT_EQ(arena.octet_count, 0u);
    for (const uintptr_t address : {uintptr_t{0}, uintptr_t{16}, address_of(&arena), ~uintptr_t{0}})
      EXPECT_FALSE(arena.contains(address));
    EXPECT_NE(*object_map::fine(0), 0) << "the fast path's first look must miss";
    EXPECT_NE(*object_map::coarse(0), 0);
  });
}

TEST(Arena, SetUpClaimsAndMarksTheSentinel) {
  in_own_process([] {
    ASSERT_TRUE(arena_growth::set_up(kDefaultArenaSize));
    EXPECT_EQ(arena.start % kHuge, 0u);
    EXPECT_EQ(address_of(arena.fine) % kHuge, 0u);
    EXPECT_EQ(address_of(arena.coarse) % kHuge, 0u);
    EXPECT_EQ(address_of(arena.page_map) % kHuge, 0u);
    EXPECT_EQ(address_of(arena.bitmap) % kHuge, 0u);
    EXPECT_EQ(address_of(arena.free_bitmap) % kHuge, 0u);
    EXPECT_EQ(object_map::fine(arena.start), arena.fine) << "seen from address zero";
    EXPECT_EQ(object_map::coarse(arena.start), arena.coarse);
    EXPECT_EQ(*object_map::fine(arena.start), kSentinelMark);
    EXPECT_EQ(*object_map::coarse(arena.start), kSentinelMark);
    EXPECT_EQ(*object_map::fine(arena.start + kTinySize), 0);
    EXPECT_EQ(arena.octet_count, 0u) << "nothing has grown";
    EXPECT_TRUE(arena_growth::set_up(kDefaultArenaSize)) << "again is no harm";
  });
}

// Where huge pages are used always, rows that nobody uses would be there as well.
TEST(Arena, TheFinePlaneIsExceptedFromHugePages) {
  in_own_process([] {
    if (access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK) != 0) return;  // a kernel that has none
    ASSERT_TRUE(arena_growth::set_up(kDefaultArenaSize));
    for (int growth = 0; growth < 3; ++growth) ASSERT_EQ(arena_growth::grow(PageCount{1}).result, GrowResult::kGrown);
    std::ifstream maps("/proc/self/smaps");
    uintptr_t begin = 0, end = 0;
    size_t covered = 0;
    for (std::string line; std::getline(maps, line);) {
      unsigned long from, to;
      if (sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) begin = from, end = to;
      if (line.rfind("VmFlags:", 0) != 0) continue;
      const uintptr_t first = std::max(begin, address_of(arena.fine));
      const uintptr_t last = std::min(end, address_of(object_map::fine(grown_end() - kTinySize)) + 1);
      if (first >= last) continue;
      covered += last - first;
      EXPECT_NE((line + ' ').find(" nh "), std::string::npos) << line;
    }
    EXPECT_EQ(covered, arena.grown_bytes() >> kOctetShift);
  });
}

TEST(Arena, PartsDoNotOverlap) {
  in_own_process([] {
    ASSERT_TRUE(arena_growth::set_up(kDefaultArenaSize));
    const arena_growth::Range metadata = arena_growth::metadata_range();
    const size_t pages = kDefaultArenaSize >> kPageShift;
    const struct {
      uintptr_t start;
      size_t bytes;
    } parts[] = {{metadata.start, metadata.bytes},
                 {address_of(arena.page_map), pages * sizeof(Span *)},
                 {address_of(arena.bitmap), pages * kBitmapBytesPerPage},
                 {address_of(arena.free_bitmap), pages * kFreeBitsBytesPerPage},
                 {address_of(arena.fine), kDefaultArenaSize >> kOctetShift},
                 {address_of(arena.coarse), kDefaultArenaSize >> kCoarseShift},
                 {arena.start, kDefaultArenaSize}};
    for (const auto &a : parts) {
      for (const auto &b : parts) {
        if (&a != &b) {
          EXPECT_TRUE(a.start + a.bytes <= b.start || b.start + b.bytes <= a.start);
        }
      }
    }
  });
}

// Each place of each region is one octet's, and none lies outside of it.
TEST(Arena, PlacesInTheFinePlane) {
  in_own_process([] {
    ASSERT_TRUE(arena_growth::set_up(kDefaultArenaSize));
    constexpr size_t kRegion = size_t{1} << kRegionOctetsLog;
    for (const size_t region : {size_t{0}, size_t{1}, (kDefaultArenaSize >> kOctetShift) / kRegion - 1}) {
      std::vector<bool> taken(kRegion);
      for (size_t i = 0; i < kRegion; ++i) {
        const size_t octet = region * kRegion + i, place = object_map::place_of(octet);
        ASSERT_EQ(place / kRegion, region);
        ASSERT_FALSE(taken[place % kRegion]) << i;
        taken[place % kRegion] = true;
        ASSERT_EQ(place % kRegion / kRowBytes, octet % 4) << "the row";
        ASSERT_EQ(object_map::fine(arena.start + (octet << kOctetShift)), arena.fine + place) << "seen from address zero";
      }
    }
    for (unsigned number = 1; number < kClassCount; ++number) {
      const size_t size = info(SizeClass{static_cast<uint8_t>(number)}).object_size;
      size_t rows = 0;
      for (size_t i = 0; i < 64; ++i) rows |= size_t{1} << i * size / kTinySize % 4;
      EXPECT_EQ(object_map::uses_one_row(size), rows == 1) << size;
    }
  });
}

TEST(Arena, GrowsByWholeSteps) {
  in_own_process([] {
    ASSERT_TRUE(arena_growth::set_up(kDefaultArenaSize));
    const size_t before = arena_growth::map_bytes();
    Grown grown = arena_growth::grow(PageCount{1});
    ASSERT_EQ(grown.result, GrowResult::kGrown);
    EXPECT_EQ(grown.first, PageId{1}) << "page 0 is never handed out";
    EXPECT_EQ(grown.count.value, kStepPages - 1);
    EXPECT_EQ(grown.hole_count.value, 0u);
    EXPECT_EQ(arena.end_page().value, kStepPages);
    EXPECT_EQ(arena_growth::map_bytes(), before) << "set_up has mapped the maps of the first step";
    touch(grown.first, grown.count);

    grown = arena_growth::grow(PageCount{kStepPages});
    ASSERT_EQ(grown.result, GrowResult::kGrown);
    EXPECT_EQ(grown.first.value, kStepPages);
    EXPECT_EQ(grown.count.value, kStepPages);
    EXPECT_EQ(arena_growth::map_bytes(), 2 * before - kOsPageSize) << "the class hints of eight steps share a page";
    touch(grown.first, grown.count);

    grown = arena_growth::grow(PageCount{kStepPages + 1});
    ASSERT_EQ(grown.result, GrowResult::kGrown);
    EXPECT_EQ(grown.count.value, 2 * kStepPages);
    touch(grown.first, grown.count);
  });
}

// A run of exactly a step does not fit the first one, whose page 0 is taken.
TEST(Arena, TheFirstGrowthMakesRoomForPageZero) {
  in_own_process([] {
    ASSERT_TRUE(arena_growth::set_up(kDefaultArenaSize));
    const Grown grown = arena_growth::grow(PageCount{kStepPages});
    ASSERT_EQ(grown.result, GrowResult::kGrown);
    EXPECT_EQ(grown.count.value, 2 * kStepPages - 1);
  });
}

TEST(Arena, ContainsExactlyWhatHasGrown) {
  in_own_process([] {
    ASSERT_TRUE(arena_growth::set_up(kDefaultArenaSize));
    ASSERT_EQ(arena_growth::grow(PageCount{1}).result, GrowResult::kGrown);
    EXPECT_TRUE(arena.contains(arena.start));
    EXPECT_TRUE(arena.contains(grown_end() - 1));
    EXPECT_FALSE(arena.contains(grown_end()));
    EXPECT_FALSE(arena.contains(arena.start - 1));
    EXPECT_FALSE(arena.contains(0));
    EXPECT_FALSE(arena.contains(~uintptr_t{0}));
    for (uint32_t page = 0; page < kStepPages; ++page) {
      EXPECT_EQ(arena.page_of(arena.address(PageId{page})), PageId{page});
      EXPECT_EQ(arena.page_of(arena.address(PageId{page}) + kPageSize - 1), PageId{page});
    }
  });
}

TEST(Arena, ASmallArenaEnds) {
  in_own_process([] {
    ASSERT_TRUE(arena_growth::set_up(kMinArenaSize));
    uint32_t pages = 0;
    Grown grown;
    while ((grown = arena_growth::grow(PageCount{700})).result == GrowResult::kGrown) pages += grown.count.value;
    EXPECT_EQ(grown.result, GrowResult::kExhausted);
    while ((grown = arena_growth::grow(PageCount{1})).result == GrowResult::kGrown) pages += grown.count.value;
    EXPECT_EQ(pages, kMinArenaSize / kPageSize - 1) << "all but page 0";
    EXPECT_EQ(arena.end_page().value, kMinArenaSize / kPageSize);
    EXPECT_EQ(arena_growth::grow(PageCount{1u << 30}).result, GrowResult::kExhausted);
    EXPECT_EQ(arena_growth::grow(PageCount{~0u}).result, GrowResult::kExhausted);
    touch(PageId{arena.end_page().value - 1}, PageCount{1});
  });
}

TEST(Arena, AForeignMappingMakesAHole) {
  for (const size_t offset :
       {size_t{0}, kStepSize / 2, kStepSize - kOsPageSize, 2 * kStepSize, 3 * kStepSize + kOsPageSize}) {
    in_own_process([offset] {
      ASSERT_TRUE(heap::set_up());
      ASSERT_NE(page_heap::allocate(PageCount{1}, SpanState::kLarge, SizeClass{0}), nullptr);
      const uintptr_t theirs = grown_end() + offset;
      ASSERT_EQ(map_at(theirs, kOsPageSize, PROT_READ | PROT_WRITE), at_address<void>(theirs));
      memset(at_address<void>(theirs), 0x5c, kOsPageSize);
      for (int i = 0; i < 40; ++i) {
        const Span *span = page_heap::allocate(PageCount{kStepPages * 3 / 4}, SpanState::kLarge, SizeClass{0});
        ASSERT_NE(span, nullptr) << i;
        memset(at_address<void>(span->start()), 0x11, span->bytes());
        ASSERT_TRUE(span->start() + span->bytes() <= theirs || span->start() >= theirs + kOsPageSize);
      }
      for (size_t i = 0; i < kOsPageSize; ++i) ASSERT_EQ(at_address<uint8_t>(theirs)[i], 0x5c) << "theirs was touched";
      ASSERT_TRUE(arena.contains(theirs));
      const page_heap::PageState state = page_heap::describe(arena.page_of(theirs));
      EXPECT_TRUE(state.known);
      EXPECT_EQ(state.state, SpanState::kHole);
      EXPECT_EQ(find_block(theirs).kind, Block::Kind::kNone);
      walk_pages();
      EXPECT_EQ(page_heap::release_all() % kPageSize, 0u);
      EXPECT_EQ(at_address<uint8_t>(theirs)[0], 0x5c);
    });
  }
}

TEST(ArenaDeathTest, APointerIntoAHoleIsForeign) {
  EXPECT_EXIT(
      {
        heap::set_up();
        allocate_slow(100000);
        const uintptr_t theirs = grown_end();
        map_at(theirs, kOsPageSize, PROT_READ | PROT_WRITE);
        for (int i = 0; i < 20; ++i) allocate_slow(kStepSize);
        release_slow(at_address<void>(theirs), "free");
      },
      KilledBySignal(SIGABRT),
      "^warren: fatal error: foreign pointer: free\\(0x[0-9a-f]+\\): this address is not in warren's heap; aborting\n$");
}

TEST(Arena, ManyForeignMappingsAreSteppedOver) {
  in_own_process([] {
    ASSERT_TRUE(heap::set_up());
    ASSERT_NE(page_heap::allocate(PageCount{1}, SpanState::kLarge, SizeClass{0}), nullptr);
    for (size_t i = 0; i < 64; ++i)
      ASSERT_NE(map_at(grown_end() + i * 2 * kStepSize, kOsPageSize, PROT_NONE), MAP_FAILED);
    for (int i = 0; i < 20; ++i) {
      const Span *span = page_heap::allocate(PageCount{2 * kStepPages}, SpanState::kLarge, SizeClass{0});
      ASSERT_NE(span, nullptr);
      memset(at_address<void>(span->start()), 1, span->bytes());
    }
    walk_pages();
  });
}

// A limit that the process meets, and that is raised again.
TEST(Arena, ALimitIsNoMemoryUntilItIsLifted) {
  in_own_process([] {
    ASSERT_TRUE(heap::set_up());
    ASSERT_NE(allocate_slow(100), nullptr);
    rlimit before;
    getrlimit(RLIMIT_AS, &before);
    rlimit tight = before;
    tight.rlim_cur = size_t{1} << 20;
    ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
    const Grown grown = arena_growth::grow(PageCount{1});
    void *const none = allocate_slow(size_t{64} << 20);
    ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
    EXPECT_EQ(grown.result, GrowResult::kNoMemory);
    EXPECT_EQ(none, nullptr);
    walk_pages();
    EXPECT_NE(allocate_slow(size_t{64} << 20), nullptr);
    walk_pages();
  });
}

GrowResult grow_but_for_the_rest(PageCount pages) {
  return arena_growth::grow(pages, [](PageId) { return false; }).result;
}

// However large, it uses up nothing of the limit; where it is refused for the sake of what belongs to it, only of that.
TEST(Arena, WhatIsRefusedLeavesNoPagesMapped) {
  in_own_process([] {
    constexpr PageCount kPages{100 * kStepPages};
    ASSERT_TRUE(heap::set_up());
    ASSERT_NE(allocate_slow(100), nullptr);
    rlimit before;
    getrlimit(RLIMIT_AS, &before);
    rlimit tight = before;
    tight.rlim_cur = mapped_bytes() + (size_t{1} << 30);
    ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
    const size_t mapped = mapped_bytes();
    for (const size_t gigabytes : {2, 10, 50}) EXPECT_EQ(allocate_slow(gigabytes << 30), nullptr);
    EXPECT_LE(mapped_bytes(), mapped + (size_t{1} << 20));
    EXPECT_EQ(grow_but_for_the_rest(kPages), GrowResult::kNoMemory);
    EXPECT_LE(mapped_bytes(), mapped + kPages.bytes() / 4);
    EXPECT_EQ(arena_growth::grow(kPages).result, GrowResult::kGrown) << "they are to be had again";
    setrlimit(RLIMIT_AS, &before);
  });
}

// Takes the address space where claims are laid, by the TiB; returns how much of it.
size_t fill_the_windows() {
  size_t taken = 0;
  for (uintptr_t at = 0x0100'0000'0000; at < 0x5000'0000'0000; at += size_t{1} << 40) {
    if (map_at(at, size_t{1} << 40, PROT_NONE) != MAP_FAILED) ++taken;
  }
  return taken;
}

// Both windows full: the claim becomes a reservation wherever the kernel has room.
TEST(Arena, WithoutItsWindowsTheArenaIsReserved) {
  in_own_process([] {
    const size_t taken = fill_the_windows();
    ASSERT_GT(taken, 60u);
    ASSERT_TRUE(heap::set_up());
    EXPECT_TRUE(arena_growth::metadata_range().exclusive);
    EXPECT_GE(arena.start, uintptr_t{0x5000'0000'0000});
    for (int i = 0; i < 30; ++i) {
      void *block = allocate_slow(size_t{1} << 20);
      ASSERT_NE(block, nullptr);
      memset(block, 1, size_t{1} << 20);
    }
    for (size_t size = 1; size < 5000; size += 7) ASSERT_NE(allocate_slow(size), nullptr);
    walk_pages();
    EXPECT_EQ(map_at(grown_end() + kStepSize, kOsPageSize, PROT_NONE), MAP_FAILED)
        << "what is not grown yet is ours as well";
    EXPECT_EQ(grow_but_for_the_rest(PageCount{1}), GrowResult::kNoMemory);
    EXPECT_EQ(map_at(grown_end(), kOsPageSize, PROT_NONE), MAP_FAILED) << "nor is what was refused anybody's";
    EXPECT_EQ(arena_growth::grow(PageCount{1}).result, GrowResult::kGrown);
  });
}

// A limit on the address space that leaves no room for a reservation of 1 TiB, and both windows full: it is halved.
TEST(Arena, AReservationUnderALimitIsHalvedUntilItFits) {
  in_own_process([] {
    const size_t taken = fill_the_windows();
    ASSERT_GT(taken, 60u);
    rlimit tight;
    getrlimit(RLIMIT_AS, &tight);
    tight.rlim_cur = (taken << 40) + (size_t{2} << 30);
    ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
    ASSERT_TRUE(heap::set_up());
    void *block = allocate_slow(size_t{64} << 20);
    ASSERT_NE(block, nullptr);
    memset(block, 1, size_t{64} << 20);
    EXPECT_EQ(allocate_slow(size_t{4} << 30), nullptr);
    walk_pages();
  });
}

TEST(Arena, EveryOptionForItsSizeWorks) {
  for (const size_t bytes : {kMinArenaSize, size_t{1} << 30, kDefaultArenaSize, size_t{16} << 40, size_t{kNoLimit}}) {
    in_own_process([bytes] {
      options.arena.store(bytes);
      ASSERT_TRUE(heap::set_up());
      void *block = allocate_slow(size_t{16} << 20);
      ASSERT_NE(block, nullptr);
      memset(block, 1, size_t{16} << 20);
      release_slow(block, "free");
      walk_pages();
    });
  }
}

}  // namespace
}  // namespace warren
