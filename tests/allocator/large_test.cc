// Blocks with a span of their own: allocator/large.h. Run as a test of its own.
// Invariant: a block said to be zero is read from end to end; a block that grows, shrinks or moves keeps its contents.
#include "allocator/large.h"

#include "allocator/block.h"
#include "allocator/heap.h"
#include "allocator/page_heap.h"
#include "allocator/page_map.h"
#include "tests/allocator/own_heap.h"

#include <cstring>

namespace warren {
namespace {

bool is_live(const void *block) { return find_block(address_of(block)).kind == Block::Kind::kLarge; }

void free_block(void *block) {
  *object_map::coarse(address_of(block)) = 0;
  large::free(block);
}

void fill(void *block, size_t bytes) {
  for (size_t i = 0; i < bytes / 8; ++i) static_cast<uint64_t *>(block)[i] = i * 0x9e3779b97f4a7c15 + 1;
}

void expect_filled(const void *block, size_t bytes) {
  for (size_t i = 0; i < bytes / 8; ++i)
    ASSERT_EQ(static_cast<const uint64_t *>(block)[i], i * 0x9e3779b97f4a7c15 + 1) << i * 8;
}

bool all_zero(const void *block, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    if (static_cast<const char *>(block)[i] != 0) return false;
  }
  return true;
}

TEST(Large, SizesAreWholePages) {
  in_own_heap([] {
    for (const size_t size : {size_t{0}, size_t{1}, kPageSize, kPageSize + 1, size_t{33000}, size_t{10} << 20}) {
      const large::Allocated allocated = large::allocate(size, kPageSize);
      ASSERT_NE(allocated.block, nullptr);
      EXPECT_EQ(address_of(allocated.block) % kPageSize, 0u);
      EXPECT_EQ(large::size_of(allocated.block), size == 0 ? kPageSize : align_up(size, kPageSize));
      EXPECT_TRUE(is_live(allocated.block));
      memset(allocated.block, 1, large::size_of(allocated.block));
      free_block(allocated.block);
      EXPECT_FALSE(is_live(allocated.block));
    }
  });
}

TEST(Large, Alignment) {
  in_own_heap([] {
    for (size_t align = 1; align <= (size_t{32} << 20); align *= 2) {
      const large::Allocated allocated = large::allocate(40000, align);
      ASSERT_NE(allocated.block, nullptr);
      EXPECT_EQ(address_of(allocated.block) % (align < kPageSize ? kPageSize : align), 0u);
      EXPECT_TRUE(is_live(allocated.block));
      EXPECT_EQ(large::size_of(allocated.block), 5 * kPageSize);
    }
  });
}

TEST(Large, ZeroIsTold) {
  in_own_heap([] {
    large::Allocated first = large::allocate(200000, kPageSize);
    EXPECT_EQ(first.dirty_bytes, 0u) << "never touched";
    EXPECT_FALSE(page_map::at(arena.page_of(address_of(first.block)))->zero) << "from now on the program writes there";
    EXPECT_TRUE(all_zero(first.block, 200000));
    memset(first.block, 1, 200000);
    free_block(first.block);
    large::Allocated second = large::allocate(200000, kPageSize);
    EXPECT_EQ(second.block, first.block);
    EXPECT_GE(second.dirty_bytes, 200000u);
    free_block(second.block);
    page_heap::release_all();
    large::Allocated third = large::allocate(200000, kPageSize);
    EXPECT_EQ(third.dirty_bytes, 0u);
    EXPECT_TRUE(all_zero(third.block, 200000));
  });
}

TEST(Large, OnlyTheWarmPartIsDirty) {
  in_own_heap([] {
    void *first = large::allocate(100000, kPageSize).block;
    memset(first, 1, 100000);
    free_block(first);
    const large::Allocated second = large::allocate(200000, kPageSize);
    EXPECT_EQ(second.block, first);
    EXPECT_EQ(second.dirty_bytes, PageCount::covering(100000).bytes());
    free_block(second.block);
    void *zeroed = allocate_zeroed(300000);
    EXPECT_EQ(zeroed, first);
    EXPECT_TRUE(all_zero(zeroed, 300000));
  });
}

// The search for a warm run looks at so many of a length. One that it has overlooked may be long enough without the untouched pages behind
// it, and be found by way of them: none of what it leaves is untouched.
TEST(Large, WhatIsLeftOfAWarmRunIsDirtyWhereItWasOverlooked) {
  in_own_heap([] {
    const auto pages = [](uint32_t count) { return large::allocate(PageCount{count}.bytes(), kPageSize).block; };
    void *overlooked = pages(141), *behind = pages(200), *others[40];
    for (void *&other : others) {
      pages(1);
      other = pages(130);
    }
    free_block(behind);
    page_heap::release_all();
    memset(overlooked, 1, PageCount{141}.bytes());
    free_block(overlooked);
    for (void *other : others) free_block(other);
    pages(140);
    const size_t bytes = PageCount{201}.bytes();
    const large::Allocated next = large::allocate(bytes, kPageSize);
    EXPECT_TRUE(all_zero(static_cast<char *>(next.block) + next.dirty_bytes, bytes - next.dirty_bytes));
  });
}

TEST(Large, GrowsInPlaceWhereThereIsRoom) {
  in_own_heap([] {
    void *block = large::allocate(100000, kPageSize).block;
    fill(block, 100000);
    EXPECT_EQ(large::reallocate(block, 120000), block);
    EXPECT_EQ(large::size_of(block), align_up(120000, kPageSize));
    EXPECT_EQ(large::reallocate(block, 1000000), block);
    expect_filled(block, 100000);
    EXPECT_TRUE(all_zero(static_cast<char *>(block) + align_up(100000, kPageSize), 800000));
    EXPECT_EQ(large::reallocate(block, 50000), block);
    EXPECT_EQ(large::size_of(block), align_up(50000, kPageSize));
    EXPECT_EQ(large::reallocate(block, 50001), block) << "the same pages";
    expect_filled(block, 50000);
    free_block(block);
    EXPECT_EQ(page_heap::stats().large_pages, 0u);
  });
}

// Below 256 KiB bytes are copied, above pages are moved: both sides of the border, and far from it.
TEST(Large, MovesWhereThereIsNone) {
  for (const size_t size : {size_t{40000}, size_t{255} << 10, size_t{256} << 10, size_t{257} << 10, size_t{5} << 20}) {
    in_own_heap([size] {
      void *block = large::allocate(size, kPageSize).block;
      void *guard = large::allocate(1, kPageSize).block;
      fill(block, size);
      memset(guard, 0x77, kPageSize);
      void *moved = large::reallocate(block, 2 * size);
      ASSERT_NE(moved, nullptr);
      ASSERT_NE(moved, block);
      EXPECT_FALSE(is_live(block));
      EXPECT_TRUE(is_live(moved));
      expect_filled(moved, size);
      EXPECT_EQ(large::size_of(moved), align_up(2 * size, kPageSize));
      memset(moved, 1, 2 * size);
      EXPECT_EQ(static_cast<char *>(guard)[100], 0x77);
      void *again = large::allocate(size, kPageSize).block;
      EXPECT_EQ(again, block) << "the old place is free";
      EXPECT_TRUE(is_live(again));
    });
  }
}

TEST(Large, WhatCannotBeHadLeavesTheBlockAlone) {
  in_own_heap([] {
    void *block = large::allocate(300000, kPageSize).block;
    fill(block, 300000);
    EXPECT_EQ(large::reallocate(block, size_t{2} << 40), nullptr) << "more than the arena";
    EXPECT_TRUE(is_live(block));
    EXPECT_EQ(large::size_of(block), align_up(300000, kPageSize));
    expect_filled(block, 300000);
    EXPECT_EQ(large::allocate(size_t{2} << 40, kPageSize).block, nullptr);
  });
}

TEST(Large, Statistics) {
  in_own_heap([] {
    void *a = large::allocate(40000, kPageSize).block;  // 5 pages
    void *b = large::allocate(40000, kPageSize).block;
    large::Stats stats = large::stats();
    EXPECT_EQ(stats.mallocs, 2u);
    EXPECT_EQ(stats.frees, 0u);
    EXPECT_EQ(stats.total_bytes, 10 * kPageSize);
    b = large::reallocate(b, 8 * kPageSize);  // in place
    stats = large::stats();
    EXPECT_EQ(stats.mallocs, 2u);
    EXPECT_EQ(stats.total_bytes, 13 * kPageSize);
    a = large::reallocate(a, 8 * kPageSize);  // copied
    stats = large::stats();
    EXPECT_EQ(stats.mallocs, 3u);
    EXPECT_EQ(stats.frees, 1u);
    EXPECT_EQ(stats.total_bytes, 21 * kPageSize);
    b = large::reallocate(b, 4 * kPageSize);
    EXPECT_EQ(large::stats().total_bytes, 21 * kPageSize);
    free_block(a);
    free_block(b);
    stats = large::stats();
    EXPECT_EQ(stats.mallocs, stats.frees);
    EXPECT_EQ(page_heap::stats().large_pages, 0u);
  });
}

// Each move leaves a mapping that merges with no other, and the kernel allows 65530: after some thousands, blocks are
// copied. Nobody notices.
TEST(Large, TheKernelIsNotAskedToMoveForEver) {
  in_own_heap([] {
    constexpr uint32_t kPages = 40;
    void *block = large::allocate(kPages * kPageSize, kPageSize).block;
    fill(block, kPages * kPageSize);
    Span *from = page_map::at(arena.page_of(address_of(block)));
    *object_map::coarse(address_of(block)) = 0;
    unsigned moves = 0;
    for (;; ++moves) {
      Span *to = page_heap::allocate(PageCount{kPages}, SpanState::kLarge, SizeClass{0});
      ASSERT_NE(to, nullptr);
      to->zero = false;
      if (page_heap::move(from, to, PageCount{kPages}) == page_heap::MoveResult::kNotMoved) {
        page_heap::free(to);
        break;
      }
      from = to;
      ASSERT_LT(moves, 60000u) << "it never stops";
    }
    EXPECT_GT(moves, 1000u);
    block = at_address<void>(from->start());
    *object_map::coarse(address_of(block)) = object_map::kLargeMark;
    expect_filled(block, kPages * kPageSize);
    void *wall = nullptr;
    while (page_map::at(from->end())->state == SpanState::kFree) wall = large::allocate(1, kPageSize).block;
    void *moved = large::reallocate(block, 2 * kPages * kPageSize);
    EXPECT_NE(moved, block) << wall;
    expect_filled(moved, kPages * kPageSize);
  });
}

}  // namespace
}  // namespace warren
