// Bits in arrays of words: allocator/base/bitmap.h. Run by base_test.
// Invariant: every operation is compared with the same one on a std::vector<bool>; seeds are printed.
#include "allocator/base/bitmap.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace warren {
namespace {

size_t next_set(const std::vector<bool> &model, size_t from) {
  for (size_t i = from; i < model.size(); ++i) {
    if (model[i]) return i;
  }
  return model.size();
}

TEST(Bitmap, WordsFor) {
  EXPECT_EQ(bits::words_for(0), 0u);
  EXPECT_EQ(bits::words_for(1), 1u);
  EXPECT_EQ(bits::words_for(64), 1u);
  EXPECT_EQ(bits::words_for(65), 2u);
}

TEST(Bitmap, SetFirstSetsExactlyThose) {
  for (size_t count = 0; count <= 192; ++count) {
    uint64_t words[4] = {};
    words[bits::words_for(count)] = 0x5a5a;  // the word behind is not touched
    bits::set_first(words, count);
    for (size_t i = 0; i < bits::words_for(count) * 64; ++i)
      EXPECT_EQ(bits::test(words, i), i < count) << count << " " << i;
    EXPECT_EQ(words[bits::words_for(count)], 0x5a5au) << count;
  }
}

TEST(Bitmap, FindOnEmptyAndAtTheEnd) {
  uint64_t words[2] = {};
  EXPECT_EQ(bits::find_set(words, 0, 100), 100u);
  EXPECT_EQ(bits::find_set(words, 100, 100), 100u);
  EXPECT_EQ(bits::find_set(words, 0, 0), 0u);
  bits::set(words, 99);
  EXPECT_EQ(bits::find_set(words, 0, 100), 99u);
  EXPECT_EQ(bits::find_set(words, 99, 100), 99u);
  EXPECT_EQ(bits::find_set(words, 0, 99), 99u) << "a bit behind the end is not seen";
  bits::set(words, 127);
  EXPECT_EQ(bits::find_set(words, 100, 128), 127u);
}

TEST(Bitmap, AllSetLooksAtEachBitOfTheRangeAndNoOther) {
  constexpr size_t kBits = 200;
  for (size_t from = 0; from <= kBits; from += 7) {
    for (size_t end = from; end <= kBits; end += 9) {
      uint64_t words[bits::words_for(kBits)] = {};
      for (size_t i = from; i < end; ++i) bits::set(words, i);
      EXPECT_TRUE(bits::all_set(words, from, end)) << from << " to " << end;
      for (size_t i = from; i < end; ++i) {
        bits::clear(words, i);
        EXPECT_FALSE(bits::all_set(words, from, end)) << i << " of " << from << " to " << end;
        bits::set(words, i);
      }
    }
  }
}

TEST(Bitmap, RandomOperationsAgreeWithAModel) {
  const unsigned seed = std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (const size_t count : {1u, 63u, 64u, 65u, 328u, 1024u}) {
    std::vector<uint64_t> words(bits::words_for(count));
    std::vector<bool> model(count);
    for (int step = 0; step < 3000; ++step) {
      const size_t at = random() % count;
      switch (random() % 3) {
        case 0:
          bits::set(words.data(), at);
          model[at] = true;
          break;
        case 1:
          bits::clear(words.data(), at);
          model[at] = false;
          break;
        default: ASSERT_EQ(bits::find_set(words.data(), at, count), next_set(model, at));
      }
      ASSERT_EQ(bits::test(words.data(), at), model[at]);
    }
  }
}

}  // namespace
}  // namespace warren
