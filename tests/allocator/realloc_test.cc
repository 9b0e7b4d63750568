// Another size for a block: allocator/realloc.cc. Run as a test of its own.
// Invariant: the contents up to the smaller of both sizes are compared, byte by byte, after every change of size.
#include "allocator/block.h"
#include "allocator/heap.h"
#include "tests/allocator/own_process.h"
#include "tests/allocator/page_walk.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

namespace warren {
namespace {

uint8_t byte_at(size_t i, uint64_t stamp) { return static_cast<uint8_t>((i * 131 + i / 251 + stamp) | 1); }

void fill(void *block, size_t from, size_t to, uint64_t stamp) {
  for (size_t i = from; i < to; ++i) static_cast<uint8_t *>(block)[i] = byte_at(i, stamp);
}

bool is_filled(const void *block, size_t size, uint64_t stamp) {
  for (size_t i = 0; i < size; ++i) {
    if (static_cast<const uint8_t *>(block)[i] != byte_at(i, stamp)) return false;
  }
  return true;
}

// Each class's size, one more and one less, and large ones around the borders.
std::vector<size_t> interesting_sizes() {
  std::vector<size_t> sizes;
  for (unsigned number = 1; number < kClassCount; number += number < 20 ? 1 : 3) {
    const size_t size = kSizeClasses[number].object_size;
    sizes.insert(sizes.end(), {size - 1, size, size + 1});
  }
  for (const size_t size : {kMaxClassSize + 1, 5 * kPageSize, 5 * kPageSize + 1, size_t{250000}, size_t{262144},
                            size_t{262145}, size_t{600000}}) {
    sizes.push_back(size);
  }
  return sizes;
}

class ReallocTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { ASSERT_TRUE(heap::set_up()); }
};

TEST_F(ReallocTest, FromEachSizeToEachOther) {
  const std::vector<size_t> sizes = interesting_sizes();
  uint64_t stamp = 0;
  for (const size_t from : sizes) {
    for (const size_t to : sizes) {
      void *block = allocate<allocate_slow>(from);
      ASSERT_NE(block, nullptr);
      fill(block, 0, from, ++stamp);
      void *other = reallocate(block, to, "realloc");
      ASSERT_NE(other, nullptr);
      ASSERT_TRUE(is_filled(other, std::min(from, to), stamp)) << from << " to " << to;
      ASSERT_GE(usable_size(other, "malloc_usable_size"), to);
      ASSERT_EQ(address_of(other) % (to <= 8 ? 8 : 16), 0u);
      if (other != block) {
        ASSERT_NE(find_block(address_of(other)).kind, Block::Kind::kNone);
      }
      fill(other, 0, to, stamp);
      release_slow(other, "free");
    }
  }
  walk_pages();
}

TEST_F(ReallocTest, ASizeThatFitsStaysInPlace) {
  for (unsigned number = 2; number < kClassCount; ++number) {
    if (number == kUnalignedClass) continue;
    const size_t size = kSizeClasses[number].object_size;
    void *block = allocate<allocate_slow>(size);
    EXPECT_EQ(reallocate(block, size, "realloc"), block);
    EXPECT_EQ(reallocate(block, size / 2 + 1, "realloc"), block) << "more than half of it";
    EXPECT_EQ(usable_size(block, "malloc_usable_size"), size);
    void *smaller = reallocate(block, size / 4, "realloc");
    if (rounded_size(size / 4) < size) {
      EXPECT_LT(usable_size(smaller, "malloc_usable_size"), size) << "memory is given back";
    }
    release_slow(smaller, "free");
  }
}

TEST_F(ReallocTest, ShrinkingALargeBlockGivesPagesBack) {
  void *block = allocate_slow(size_t{1} << 20);
  EXPECT_EQ(reallocate(block, 100000, "realloc"), block);
  EXPECT_EQ(usable_size(block, "malloc_usable_size"), align_up(100000, kPageSize));
  void *small = reallocate(block, 100, "realloc");
  EXPECT_EQ(usable_size(small, "malloc_usable_size"), 112u);
  release_slow(small, "free");
  walk_pages();
}

TEST_F(ReallocTest, TheImpossibleLeavesTheBlockAlone) {
  for (const size_t from : {size_t{1}, size_t{100}, size_t{5000}, size_t{100000}}) {
    for (const size_t to :
         {~size_t{0}, size_t{PTRDIFF_MAX}, size_t{PTRDIFF_MAX} + 1, (size_t{1} << 43) + 1, size_t{1} << 42}) {
      void *block = allocate_slow(from);
      fill(block, 0, from, 5);
      EXPECT_EQ(reallocate(block, to, "realloc"), nullptr);
      EXPECT_NE(find_block(address_of(block)).kind, Block::Kind::kNone) << "it lives";
      EXPECT_TRUE(is_filled(block, from, 5));
      release_slow(block, "free");
    }
  }
}

TEST_F(ReallocTest, AlignedBlocks) {
  for (size_t align = 32; align <= 65536; align *= 2) {
    for (const size_t size : {size_t{1}, size_t{100}, size_t{5000}, size_t{70000}}) {
      void *block = allocate_aligned(align, size);
      ASSERT_NE(block, nullptr);
      fill(block, 0, size, align);
      void *grown = reallocate(block, 3 * size, "realloc");
      ASSERT_TRUE(is_filled(grown, size, align)) << align << " " << size;
      release_slow(grown, "free");
    }
  }
}

TEST_F(ReallocTest, OneBlockUpAndDown) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  size_t size = 1;
  void *block = allocate_slow(size);
  fill(block, 0, size, seed);
  for (int step = 0; step < 2000; ++step) {
    const size_t next = 1 + random() % (size_t{1} << (1 + random() % 20));
    void *moved = reallocate(block, next, "realloc");
    ASSERT_NE(moved, nullptr);
    ASSERT_TRUE(is_filled(moved, std::min(size, next), seed)) << size << " to " << next;
    if (next > size) fill(moved, size, next, seed);
    block = moved;
    size = next;
  }
  release_slow(block, "free");
  walk_pages();
}

// A buffer that grows in small steps must not be copied at each of them.
TEST_F(ReallocTest, AGrowingBufferIsSeldomMoved) {
  in_own_process([] {
    ASSERT_TRUE(heap::set_up());
    void *block = allocate_slow(1);
    unsigned moves = 0;
    for (size_t size = 2; size < (size_t{1} << 20); size += 64) {
      void *grown = reallocate(block, size, "realloc");
      moves += grown != block;
      block = grown;
    }
    EXPECT_LT(moves, 100u) << "16384 changes of size";
  });
}

}  // namespace
}  // namespace warren
