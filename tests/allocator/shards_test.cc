// Which threads' objects come from which spans: the shards of allocator/central.h. Run as a test of its own.
// Invariant: all of it holds for what the central hands out, whatever order its lists are in.
#include "allocator/central.h"

#include "allocator/page_heap.h"
#include "tests/allocator/batches.h"

#include <algorithm>
#include <random>
#include <vector>

namespace warren {
namespace {

// All objects of nine spans, but one in so many.
std::vector<void *> take_much(size_t one_in) {
  const size_t objects = info(kClass).objects;
  std::vector<void *> all, back;
  for (int i = 0; i < 9; ++i) {
    const std::vector<void *> batch = fetch(kClass, objects);
    for (size_t k = 0; k < batch.size(); ++k) (k % one_in == 0 ? back : all).push_back(batch[k]);
  }
  give_back(kClass, back);
  return all;
}

TEST(Shards, EachHasSpansOfItsOwn) {
  in_own_heap([] {
    take_much(64);
    for (unsigned shard = 1; shard < kShards; ++shard) {
      const std::vector<void *> mine = fetch(kClass, info(kClass).objects, shard);
      ASSERT_EQ(mine.size(), info(kClass).objects);
      EXPECT_EQ(central_of(kClass).stats().spans, 9u + shard);
      give_back(kClass, {mine[50]});
      EXPECT_NE(fetch(kClass, 1, 0), std::vector<void *>{mine[50]}) << "whoever gave it back";
      EXPECT_EQ(fetch(kClass, 1, shard), std::vector<void *>{mine[50]});
    }
  });
}

TEST(Shards, WhereMuchIsFreeAShardTakesASpanOver) {
  in_own_heap([] {
    take_much(4);
    EXPECT_EQ(fetch_apart(kClass, 50, nullptr, 2).size(), 50u);
    const std::vector<void *> taken = fetch(kClass, 50, 3);
    EXPECT_EQ(taken.size(), 50u);
    EXPECT_EQ(central_of(kClass).stats().spans, 9u);
    fetch(kClass, info(kClass).objects, 3);
    give_back(kClass, {taken[7]});
    EXPECT_EQ(fetch(kClass, 1, 3), std::vector<void *>{taken[7]}) << "its span is the shard's now";
  });
}

TEST(Shards, ABatchIsOfAsManySpansAsItTakes) {
  in_own_heap([] {
    take_much(16);
    const size_t each = info(kClass).objects / 16;
    EXPECT_EQ(fetch(kClass, 3 * each, 2).size(), 3 * each) << "of three that were another shard's";
    EXPECT_EQ(fetch(kClass, 2 * each, 1).size(), 2 * each);
    EXPECT_EQ(central_of(kClass).stats().spans, 9u);
    fetch(kClass, each, 3);
    EXPECT_EQ(central_of(kClass).stats().spans, 10u) << "little is free by now";
  });
}

void use_up_memory() {
  for (const uint32_t pages : {4096, 64, 1}) {
    while (page_heap::allocate(PageCount{pages}, SpanState::kLarge, SizeClass{0}) != nullptr) {
    }
  }
}

TEST(Shards, WithoutMemoryAShardTakesASpanOver) {
  in_own_heap([] {
    take_much(64);
    use_up_memory();
    size_t got = 0;
    for (unsigned shard = 1; shard < kShards; ++shard) got += fetch(kClass, 4, shard).size() + fetch_apart(kClass, 4, nullptr, shard).size();
    EXPECT_EQ(got, 2u * 4 * (kShards - 1));
    for (size_t more = 1; more != 0; got += more) more = fetch(kClass, 100, got % kShards).size();
    EXPECT_EQ(got, 9u * info(kClass).objects / 64) << "all that were free";
  });
}

// To look for a new span, which is not to be had, would give it back to the kernel.
TEST(Shards, WithoutMemoryWhatIsWarmStaysSo) {
  in_own_heap([] {
    constexpr SizeClass kOfManyPages{42};
    ASSERT_GT(info(kOfManyPages).span_pages, 4);
    std::vector<void *> back;
    for (int i = 0; i < 40; ++i) back.push_back(fetch(kOfManyPages, info(kOfManyPages).objects)[3]);
    back.resize(20);  // of 920: little
    give_back(kOfManyPages, back);
    Span *warm = page_heap::allocate(PageCount{2}, SpanState::kLarge, SizeClass{0});
    use_up_memory();
    page_heap::free(warm);
    const uint64_t gone = page_heap::stats().scavenged_pages;
    EXPECT_EQ(fetch(kOfManyPages, 3, 1).size(), 3u);
    EXPECT_EQ(fetch_apart(kOfManyPages, 3, nullptr, 2).size(), 3u);
    EXPECT_EQ(page_heap::stats().scavenged_pages, gone);
    EXPECT_EQ(page_heap::take_warm_memory().pages, 2u);
  });
}

// A thread whose use swings by a batch would get a span from the page heap, and give it back, each time.
TEST(Shards, WhereLittleIsFreeEachShardKeepsASpan) {
  in_own_heap([] {
    std::vector<void *> all;
    for (int i = 0; i < 200; ++i) {
      for (void *object : fetch(kClass, info(kClass).objects)) all.push_back(object);
    }
    give_back(kClass, {all[0]});
    const std::vector<void *> mine = fetch(kClass, 100, 1);
    EXPECT_EQ(central_of(kClass).stats().spans, 201u);
    give_back(kClass, mine);
    EXPECT_EQ(central_of(kClass).stats().spans, 201u);
    EXPECT_EQ(fetch(kClass, 100, 1), mine);
    give_back(kClass, mine);
    central_of(kClass).release_kept();
    EXPECT_EQ(central_of(kClass).stats().spans, 200u);
    for (unsigned shard = 1; shard < kShards; ++shard) give_back(kClass, fetch(kClass, 2, shard));
    EXPECT_EQ(central_of(kClass).stats().spans, 200u + kShards - 1);
    give_back(kClass, {all.begin() + 1, all.end()});
    EXPECT_EQ(central_of(kClass).stats().spans, 1u) << "much is free, and one is enough";
  });
}

TEST(Shards, OfAllShardsOneFreeSpanIsKept) {
  in_own_heap([] {
    std::vector<void *> all = take_much(64);
    for (unsigned shard = 1; shard < kShards; ++shard) {
      for (void *object : fetch(kClass, info(kClass).objects, shard)) all.push_back(object);
    }
    std::shuffle(all.begin(), all.end(), std::mt19937(9));
    give_back(kClass, all);
    EXPECT_EQ(central_of(kClass).stats().spans, 1u);
    EXPECT_EQ(objects_out(kClass), 0u);
    central_of(kClass).release_kept();
    EXPECT_EQ(central_of(kClass).stats().spans, 0u);
  });
}

}  // namespace
}  // namespace warren
