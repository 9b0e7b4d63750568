// The pool for signal handlers that interrupted the heap: allocator/emergency.h. Run as a test of its own.
// Invariant: each block carries its owner's canary from end to end while it is live; when none is live, all of the pool
// can be had again.
#include "allocator/emergency.h"

#include "allocator/base/address.h"
#include "allocator/base/config.h"
#include "tests/allocator/own_process.h"

#include <atomic>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace warren {
namespace {

constexpr size_t kPool = size_t{256} << 10;
constexpr size_t kAlmostAll = kPool - 64;

void expect_pool_is_free() {
  void *all = emergency::allocate(kAlmostAll, kMinAlign);
  EXPECT_NE(all, nullptr) << "no block is live, and the pool is not free";
  if (all != nullptr) emergency::free(all);
}

TEST(Emergency, BlocksAreAlignedSizedAndApart) {
  in_own_process([] {
    std::vector<std::pair<char *, size_t>> blocks;
    for (const size_t align : {size_t{1}, size_t{8}, size_t{16}, size_t{64}, size_t{4096}, kPageSize}) {
      for (const size_t size : {size_t{0}, size_t{1}, size_t{15}, size_t{16}, size_t{100}, size_t{1000}}) {
        auto *block = static_cast<char *>(emergency::allocate(size, align));
        ASSERT_NE(block, nullptr);
        EXPECT_EQ(address_of(block) % align, 0u);
        EXPECT_EQ(address_of(block) % kMinAlign, 0u);
        EXPECT_EQ(emergency::size_of(block), size);
        EXPECT_TRUE(emergency::contains(address_of(block)));
        memset(block, static_cast<int>(blocks.size() + 1), size);
        blocks.emplace_back(block, size);
      }
    }
    for (size_t i = 0; i < blocks.size(); ++i) {
      for (size_t byte = 0; byte < blocks[i].second; ++byte)
        ASSERT_EQ(static_cast<size_t>(blocks[i].first[byte]), i + 1);
      EXPECT_EQ(emergency::size_of(blocks[i].first), blocks[i].second);
    }
    for (const auto &block : blocks) emergency::free(block.first);
    expect_pool_is_free();
  });
}

TEST(Emergency, OtherAddressesAreNotContained) {
  int local = 0;
  EXPECT_FALSE(emergency::contains(address_of(&local)));
  EXPECT_FALSE(emergency::contains(0));
  EXPECT_FALSE(emergency::contains(~uintptr_t{0}));
}

TEST(Emergency, ItRunsOutAndComesBack) {
  in_own_process([] {
    for (int round = 0; round < 3; ++round) {
      std::vector<void *> blocks;
      while (void *block = emergency::allocate(1000, kMinAlign)) blocks.push_back(block);
      EXPECT_EQ(std::set<void *>(blocks.begin(), blocks.end()).size(), blocks.size());
      EXPECT_EQ(blocks.size(), kPool / (1008 + 16));
      for (void *block : blocks) EXPECT_LE(address_of(block) + 1000, address_of(blocks.front()) + kPool);
      EXPECT_EQ(emergency::allocate(1000, kMinAlign), nullptr) << "and stays so";
      while (!blocks.empty()) {
        if (blocks.size() > 1) emergency::free(blocks.back());
        if (blocks.size() == 1) {
          EXPECT_EQ(emergency::allocate(1000, kMinAlign), nullptr) << "one block is live";
          emergency::free(blocks.back());
        }
        blocks.pop_back();
      }
      expect_pool_is_free();
    }
  });
}

TEST(Emergency, TheImpossibleIsRefused) {
  in_own_process([] {
    for (const size_t size : {kPool, kPool + 1, ~size_t{0}, ~size_t{0} - 15, size_t{1} << 63})
      EXPECT_EQ(emergency::allocate(size, 16), nullptr) << size;
    EXPECT_EQ(emergency::allocate(16, 2 * kPageSize), nullptr);
    EXPECT_EQ(emergency::allocate(16, size_t{1} << 63), nullptr);
    expect_pool_is_free();
  });
}

TEST(Emergency, DeferredFreesComeBackOnce) {
  in_own_process([] {
    EXPECT_FALSE(emergency::has_deferred());
    EXPECT_EQ(emergency::take_deferred(), nullptr);
    alignas(16) char blocks[5][16];
    for (char *block : blocks) emergency::defer_free(block);
    EXPECT_TRUE(emergency::has_deferred());
    std::set<void *> taken;
    for (emergency::Deferred *entry = emergency::take_deferred(); entry != nullptr; entry = entry->next)
      taken.insert(entry);
    EXPECT_EQ(taken.size(), 5u);
    for (char *block : blocks) EXPECT_EQ(taken.count(block), 1u);
    EXPECT_FALSE(emergency::has_deferred());
  });
}

TEST(Emergency, DeferredFreesOfManyThreads) {
  in_own_process([] {
    constexpr int kThreads = 4, kBlocks = 5000;
    static emergency::Deferred entries[kThreads][kBlocks];
    std::atomic<int> running{kThreads};
    std::vector<std::thread> threads;
    for (auto &own : entries) {
      threads.emplace_back([&own, &running] {
        for (emergency::Deferred &entry : own) emergency::defer_free(&entry);
        running--;
      });
    }
    std::set<void *> taken;
    size_t count = 0;
    do {
      for (emergency::Deferred *entry = emergency::take_deferred(); entry != nullptr; entry = entry->next, ++count)
        taken.insert(entry);
    } while (running != 0 || emergency::has_deferred());
    for (std::thread &thread : threads) thread.join();
    EXPECT_EQ(count, size_t{kThreads} * kBlocks);
    EXPECT_EQ(taken.size(), size_t{kThreads} * kBlocks);
  });
}

// Threads that use up the pool together; every failed allocation races with the free that starts the pool over.
void stress(size_t most, unsigned seed) {
  constexpr unsigned kThreads = 4;
  std::atomic<unsigned> overwritten{0};
  std::vector<std::thread> threads;
  for (unsigned id = 1; id <= kThreads; ++id) {
    threads.emplace_back([&overwritten, most, seed, id] {
      std::mt19937 random(seed + id);
      std::vector<std::pair<char *, size_t>> mine;
      for (int step = 0; step < 4000; ++step) {
        const size_t size = random() % most;
        if (mine.size() < 8 && random() % 2 == 0) {
          auto *block = static_cast<char *>(emergency::allocate(size, kMinAlign));
          if (block == nullptr) continue;
          memset(block, static_cast<int>(id), size);
          mine.emplace_back(block, size);
        } else if (!mine.empty()) {
          const auto [block, bytes] = mine.back();
          for (size_t i = 0; i < bytes; i += 1 + bytes / 64) overwritten += block[i] != static_cast<char>(id);
          emergency::free(block);
          mine.pop_back();
        }
      }
      for (const auto &block : mine) emergency::free(block.first);
    });
  }
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(overwritten, 0u) << "two blocks overlap";
}

TEST(Emergency, ThreadsGetBlocksOfTheirOwn) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  in_own_process([seed] {
    stress(500, seed);
    expect_pool_is_free();
  });
}

TEST(Emergency, AfterUsingItUpTogetherAllOfItIsFree) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  in_own_process([seed] {
    for (unsigned round = 0; round < 8; ++round) {
      stress(kPool / 6, seed + 100 * round);
      expect_pool_is_free();
      if (::testing::Test::HasFailure()) return;
    }
  });
}

}  // namespace
}  // namespace warren
