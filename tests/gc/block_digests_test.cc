// The digests by which unchanged blocks of dirty pages are passed over.
#include "gc/block_digests.h"

#include "allocator/heap.h"
#include "gc/page_tags.h"

#include <gtest/gtest.h>

namespace warren::gc::block_digests {
namespace {

class BlockDigests : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(heap::set_up());
    tables.start = arena.start;
    tables.bytes = size_t{1} << 20;
    begin();
    for (size_t i = 0; i < kBlockWords; ++i) block[i] = i * 0x9e3779b97f4a7c15;
  }

  // Of the block at the arena's start, with contents of the test's own.
  bool looks_unchanged(uint64_t marks) {
    uintptr_t words[kBlockWords];
    const uint64_t digest = copy(address_of(block), marks, words);
    return unchanged(arena.start, digest);
  }

  alignas(kBlockBytes) uintptr_t block[kBlockWords];
};

TEST_F(BlockDigests, ABlockNeverSeenCountsAsChanged) {
  EXPECT_FALSE(looks_unchanged(1));
  EXPECT_TRUE(looks_unchanged(1));
}

TEST_F(BlockDigests, EveryBitOfEveryWordCounts) {
  for (uintptr_t &word : block) {
    for (unsigned bit = 0; bit < 64; ++bit) {
      EXPECT_FALSE(looks_unchanged(1));
      word ^= uintptr_t{1} << bit;
      EXPECT_FALSE(looks_unchanged(1)) << "word " << &word - block << " bit " << bit;
      word ^= uintptr_t{1} << bit;
    }
  }
}

TEST_F(BlockDigests, WordsThatTradePlacesCount) {
  looks_unchanged(1);
  for (size_t i = 1; i < kBlockWords; ++i) {
    std::swap(block[0], block[i]);
    EXPECT_FALSE(looks_unchanged(1)) << i;
    std::swap(block[0], block[i]);
    EXPECT_FALSE(looks_unchanged(1)) << i;
  }
}

// An object that was not marked then was not scanned with these words.
TEST_F(BlockDigests, MarksCount) {
  EXPECT_FALSE(looks_unchanged(1));
  EXPECT_FALSE(looks_unchanged(3));
  EXPECT_TRUE(looks_unchanged(3));
  EXPECT_FALSE(looks_unchanged(1));
}

TEST_F(BlockDigests, ACycleForgets) {
  looks_unchanged(1);
  EXPECT_TRUE(looks_unchanged(1));
  begin();
  EXPECT_FALSE(looks_unchanged(1));
}

TEST_F(BlockDigests, BlocksBeyondTheTableAlwaysCountAsChanged) {
  uintptr_t words[kBlockWords];
  const uint64_t digest = copy(address_of(block), 1, words);
  const uintptr_t beyond = arena.start + (size_t{1} << 40);
  EXPECT_FALSE(unchanged(beyond, digest));
  EXPECT_FALSE(unchanged(beyond, digest));
}

TEST_F(BlockDigests, TheCopyIsTheBlock) {
  uintptr_t words[kBlockWords];
  copy(address_of(block), 1, words);
  for (size_t i = 0; i < kBlockWords; ++i) EXPECT_EQ(words[i], block[i]);
}

}  // namespace
}  // namespace warren::gc::block_digests
