// What a pointer is: allocator/block.h and the object map under it. Run as a test of its own.
// Invariant: for a block of every class, every offset into it and around it is asked about, aligned or not.
#include "allocator/block.h"

#include "allocator/heap.h"
#include "allocator/object_map.h"
#include "tests/allocator/packed_tiny.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace warren {
namespace {

using Kind = Block::Kind;

Kind kind_of(const void *pointer) { return find_block(address_of(pointer)).kind; }

Kind expected_kind(size_t size) {
  return size <= kTinySize       ? Kind::kTiny
         : size <= kMaxSmallSize ? Kind::kSmall
         : size <= kMaxClassSize ? Kind::kMedium
                                 : Kind::kLarge;
}

class BlockTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_TRUE(heap::set_up());
    pack_tiny_blocks();
  }

  void *allocated(size_t size) {
    void *block = allocate_slow(size);
    EXPECT_NE(block, nullptr);
    blocks_.push_back(block);
    return block;
  }
  ~BlockTest() override {
    for (void *block : blocks_) release_slow(block, "free");
  }

 private:
  std::vector<void *> blocks_;
};

TEST_F(BlockTest, EachKindIsFoundAtItsStart) {
  for (unsigned number = 1; number < kClassCount; ++number) {
    if (number == kUnalignedClass) continue;
    const size_t size = kSizeClasses[number].object_size;
    void *start = allocated(size);
    const Block found = find_block(address_of(start));
    EXPECT_EQ(found.kind, expected_kind(size)) << size;
    EXPECT_EQ(found.size_class.value, number);
    EXPECT_EQ(*found.mark, number);
    EXPECT_EQ(block_size(found, address_of(start)), size);
  }
  for (const size_t size : {kMaxClassSize + 1, size_t{100000}, size_t{5} << 20}) {
    void *start = allocated(size);
    const Block found = find_block(address_of(start));
    EXPECT_EQ(found.kind, Kind::kLarge);
    EXPECT_EQ(*found.mark, object_map::kLargeMark);
    EXPECT_EQ(block_size(found, address_of(start)), align_up(size, kPageSize));
  }
}

TEST_F(BlockTest, NoOffsetIntoABlockIsABlock) {
  for (unsigned number = 1; number < kClassCount; ++number) {
    if (number == kUnalignedClass) continue;
    const size_t size = kSizeClasses[number].object_size;
    const char *start = static_cast<char *>(allocated(size));
    size_t found = 0;
    for (size_t offset = 1; offset < size; ++offset) found += kind_of(start + offset) != Kind::kNone;
    EXPECT_EQ(found, 0u) << "class " << number;
  }
  const char *start = static_cast<char *>(allocated(3 * kPageSize));
  size_t found = 0;
  for (size_t offset = 1; offset < 3 * kPageSize; ++offset) found += kind_of(start + offset) != Kind::kNone;
  EXPECT_EQ(found, 0u);
}

TEST_F(BlockTest, NeighboursAreToldApart) {
  for (const size_t size :
       {size_t{8}, size_t{16}, size_t{48}, size_t{1024}, size_t{1152}, size_t{4096}, size_t{32768}}) {
    std::vector<uintptr_t> starts;
    for (int i = 0; i < 40; ++i) starts.push_back(address_of(allocated(size)));
    for (const uintptr_t start : starts) {
      for (uintptr_t address = start - 16; address < start + 16; ++address) {
        const bool is_start = std::find(starts.begin(), starts.end(), address) != starts.end();
        if (is_start) {
          EXPECT_EQ(find_block(address).kind, expected_kind(size));
        } else if (size >= 32) {
          EXPECT_EQ(find_block(address).kind, Kind::kNone);
        }
      }
    }
  }
}

TEST_F(BlockTest, TinyBlocksStartAtOddPlacesToo) {
  unsigned odd = 0, even = 0;
  for (int i = 0; i < 100; ++i) {
    const uintptr_t start = address_of(allocated(1 + static_cast<size_t>(i) % 8));
    EXPECT_EQ(start % 8, 0u);
    const Block found = find_block(start);
    EXPECT_EQ(found.kind, Kind::kTiny);
    EXPECT_EQ(found.mark, object_map::fine(start));
    (start % kMinAlign != 0 ? odd : even)++;
  }
  EXPECT_GT(odd, 0u);
  EXPECT_GT(even, 0u);
}

TEST_F(BlockTest, AFreeBlockIsNone) {
  for (const size_t size :
       {size_t{8}, size_t{16}, size_t{100}, size_t{1000}, size_t{2000}, size_t{30000}, size_t{100000}}) {
    std::vector<void *> blocks;
    for (int i = 0; i < 20; ++i) blocks.push_back(allocate_slow(size));
    for (void *block : blocks) release_slow(block, "free");
    for (void *block : blocks) EXPECT_EQ(kind_of(block), Kind::kNone) << size;
  }
}

TEST_F(BlockTest, AnyWordMayBeAskedAbout) {
  static int in_bss;
  const int on_stack = 0;
  allocated(100);
  const uintptr_t end = arena.start + arena.grown_bytes();
  const uintptr_t words[] = {0,
                             1,
                             8,
                             16,
                             address_of(&in_bss),
                             address_of(&on_stack),
                             address_of(&arena),
                             arena.start - 8,
                             arena.start - 1,
                             arena.start - kPageSize,
                             end,
                             end + 8,
                             end + kStepSize,
                             address_of(arena.fine),
                             address_of(arena.page_map),
                             0x7fff'ffff'fff8,
                             0x8000'0000'0000,
                             0xffff'8000'0000'0000,
                             ~uintptr_t{0},
                             ~uintptr_t{7},
                             ~uintptr_t{15}};
  for (const uintptr_t word : words) EXPECT_EQ(find_block(word).kind, Kind::kNone) << std::hex << word;
}

TEST_F(BlockTest, PageZeroHoldsNoBlock) {
  for (uintptr_t address = arena.start; address < arena.start + kPageSize; ++address) {
    ASSERT_EQ(find_block(address).kind, Kind::kNone) << address - arena.start;
  }
}

TEST_F(BlockTest, EveryWordOfTheArenaCanBeAskedAbout) {
  allocated(100);
  allocated(100000);
  const uintptr_t end = arena.start + arena.grown_bytes();
  size_t found = 0;
  for (uintptr_t address = arena.start; address < end; address += 8) found += find_block(address).kind != Kind::kNone;
  EXPECT_EQ(found, 2u) << "the two that live";
}

}  // namespace
}  // namespace warren
