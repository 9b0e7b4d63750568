// Counted allocations and sampled blocks: allocator/sampling.h, with a watcher of the test's own. Run as a test of its own.
// Invariant: a block is in the watcher's hands exactly from its allocation to its free, whichever way each was made.
#include "allocator/sampling.h"

#include "allocator/block.h"
#include "allocator/emergency.h"
#include "allocator/thread.h"
#include "tests/allocator/own_process.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace warren {
namespace {

using sampling::Watcher;

// The watcher. On libc's malloc, as the test is.
std::mutex lock;
std::map<const void *, size_t> watched;
uint64_t sampled_count = 0, sampled_bytes = 0, unknown_count = 0;
std::atomic<uint64_t> mean{1};
std::atomic<uint64_t> noted_count{0}, noted_bytes{0};

const Watcher kWatcher{
    [] { return mean.load(); },
    []() -> uint32_t { return 7; },
    [](const void *block, size_t size, uint64_t rate, uint32_t stack) {
      const std::lock_guard guard(lock);
      EXPECT_NE(rate, 0u);
      EXPECT_EQ(stack, 7u);
      EXPECT_TRUE(watched.emplace(block, size).second);
      ++sampled_count;
      sampled_bytes += size;
      return true;
    },
    [](const void *block) {
      const std::lock_guard guard(lock);
      if (watched.erase(block) == 1) return true;
      ++unknown_count;
      return false;
    },
    [] {},
};

void note(void *block, size_t size) {
  EXPECT_NE(block, nullptr);
  noted_count++;
  noted_bytes += size;
}

size_t size_watched(const void *block) {
  const std::lock_guard guard(lock);
  const auto found = watched.find(block);
  return found == watched.end() ? 0 : found->second;
}

void *take(size_t size) { return allocate<allocate_slow>(size); }
void slow_release(void *block) { release_slow(block, "free"); }
void give(void *block) { release<slow_release>(block); }

// Sampling of every block, in a process of its own.
template <class Body>
void watching(Body body) {
  in_own_process([&] {
    ASSERT_TRUE(heap::set_up());
    mean = 1;
    sampling::watch(&kWatcher);
    body();
    EXPECT_TRUE(watched.empty());
    EXPECT_EQ(unknown_count, 0u);
  });
}

const size_t kSizes[] = {100, 16, 17, 500, 1024, 1025, 4096, 20000, 32768, 32769, 100000, 3000000};

TEST(Sampling, EveryKindOfBlockIsWatchedFromItsAllocationToItsFree) {
  watching([] {
    for (const size_t size : kSizes) {
      for (const size_t align : {size_t{8}, size_t{16}, size_t{64}, size_t{4096}, size_t{32768}}) {
        void *blocks[] = {take(size), allocate_zeroed(size), allocate_aligned(align, size)};
        for (void *block : blocks) {
          EXPECT_EQ(size_watched(block), size) << align;
          const Block found = find_block(address_of(block));
          EXPECT_TRUE(found.sampled);
          EXPECT_GE(usable_size(block, "malloc_usable_size"), size);
          memset(block, 0xee, usable_size(block, "malloc_usable_size"));
        }
        for (const char *byte = static_cast<char *>(blocks[0]); byte != static_cast<char *>(blocks[0]) + size; ++byte) {
          ASSERT_EQ(static_cast<uint8_t>(*byte), 0xee);
        }
        EXPECT_EQ(address_of(blocks[2]) % align, 0u);
        for (void *block : blocks) give(block);
        EXPECT_TRUE(watched.empty());
      }
    }
  });
}

TEST(Sampling, TinyBlocksAreNotTinyWhenSampled) {
  watching([] {
    for (int i = 0; i < 1000; ++i) {
      void *block = take(8);
      EXPECT_TRUE(size_watched(block) == 0 || address_of(block) % 16 == 0);
      give(block);
    }
    EXPECT_GT(sampled_count, 900u);
  });
}

// Packing begins while everything is counted, and goes on when nothing is.
TEST(Sampling, PackedTinyBlocksAreCountedToo) {
  watching([] {
    mean = size_t{1} << 40;
    std::vector<void *> blocks;
    const auto is_odd = [](const void *block) { return address_of(block) % kMinAlign != 0; };
    for (int i = 0; i < 200'000; ++i) blocks.push_back(take(8));
    EXPECT_GT(std::count_if(blocks.begin(), blocks.end(), is_odd), 1000);
    EXPECT_EQ(sampled_count, 0u);
    mean = 1;
    sampling::watch(&kWatcher);
    for (int i = 0; i < 1000; ++i) blocks.push_back(take(8));
    EXPECT_GT(sampled_count, 900u);
    const uint64_t before = sampled_count;
    sampling::watch(nullptr);
    for (int i = 0; i < 100'000; ++i) blocks.push_back(take(8));
    EXPECT_EQ(sampled_count, before);
    EXPECT_GT(std::count_if(blocks.end() - 10'000, blocks.end(), is_odd), 1000);
    for (int i = 0; i < 200; ++i) {  // packed ones are at hand
      give(blocks.back());
      blocks.pop_back();
    }
    sampling::watch(&kWatcher);
    for (int i = 0; i < 1000; ++i) blocks.push_back(take(8));
    EXPECT_GT(sampled_count, before + 980);
    for (void *block : blocks) give(block);
  });
}

TEST(Sampling, BlocksOfTheSameClassKeepTheirsApart) {
  watching([] {
    // Sampled and others in turn, on the same span, freed in another order.
    std::vector<void *> blocks;
    for (int i = 0; i < 2000; ++i) {
      sampling::watch(i % 2 == 0 ? &kWatcher : nullptr);
      blocks.push_back(take(64));
      EXPECT_EQ(size_watched(blocks.back()), i % 2 == 0 ? 64u : 0u);
    }
    for (size_t i = 0; i < blocks.size(); ++i) give(blocks[i * 7 % blocks.size()]);
  });
}

TEST(Sampling, ReallocFollowsTheBlock) {
  watching([] {
    for (const size_t from : kSizes) {
      for (const size_t to : kSizes) {
        auto *block = static_cast<char *>(take(from));
        memset(block, 3, from);
        auto *other = static_cast<char *>(reallocate(block, to, "realloc"));
        ASSERT_NE(other, nullptr);
        for (size_t i = 0; i < (from < to ? from : to); ++i) ASSERT_EQ(other[i], 3);
        // What stays in its class keeps the size it was sampled with.
        const size_t now = size_watched(other);
        EXPECT_TRUE(now == to || (other == block && now == from)) << from << " to " << to << ": " << now;
        EXPECT_TRUE(other == block || size_watched(block) == 0);
        give(other);
        EXPECT_TRUE(watched.empty());
      }
    }
  });
}

TEST(SamplingDeathTest, ASecondFreeIsReported) {
  watching([] {
    for (const size_t size : {size_t{100}, size_t{5000}, size_t{100000}}) {
      void *block = take(size);
      ASSERT_NE(size_watched(block), 0u);
      EXPECT_EXIT({ give(block); give(block); }, testing::KilledBySignal(SIGABRT), "double free: free");
      EXPECT_EXIT(give(static_cast<char *>(block) + 16), testing::KilledBySignal(SIGABRT), "invalid pointer: free");
      give(block);
    }
  });
}

TEST(Sampling, AFreeInsideTheHeapIsPutOff) {
  watching([] {
    void *blocks[] = {take(100), take(5000), take(100000)};
    {
      CacheAccess inside;  // as a signal handler finds it
      for (void *block : blocks) give(block);
      EXPECT_EQ(watched.size(), 3u);
      EXPECT_TRUE(emergency::contains(address_of(take(50))));
    }
    EXPECT_TRUE(emergency::has_deferred());
    release_free_memory();
    EXPECT_FALSE(emergency::has_deferred());
  });
}

// The two words that say that a thread is inside are written one after the other, and a handler may come between them.
TEST(Sampling, AHandlerAtTheHeapsDoorEndsNoSampling) {
  watching([] {
    give(take(100));
    {
      const intptr_t distance = cache_distance;
      CacheAccess inside;
      cache_distance = distance;
      give(take(100));
      give(take(5000));
      cache_distance = 0;
    }
    void *block = take(100);
    EXPECT_EQ(size_watched(block), 100u);
    give(block);
  });
}

TEST(Sampling, BytesAreSampledAsOftenAsTheyShould) {
  watching([] {
    mean = 10000;
    sampling::watch(&kWatcher);
    for (const size_t size : {size_t{8}, size_t{64}, size_t{1000}, size_t{9000}, size_t{60000}}) {
      const uint64_t before = sampled_count;
      const size_t count = 20'000'000 / size < 4000 ? 4000 : 20'000'000 / size;
      for (size_t i = 0; i < count; ++i) give(take(size));
      const double chance = 1 - std::exp(-static_cast<double>(size) / 10000);
      const double wanted = chance * static_cast<double>(count);
      // Six standard deviations.
      EXPECT_NEAR(static_cast<double>(sampled_count - before), wanted, 6 * std::sqrt(wanted)) << size;
    }
  });
}

TEST(Sampling, GapsHaveNoMemory) {
  watching([] {
    mean = 1000;
    sampling::watch(&kWatcher);
    // Exponentially distributed: the mean is the standard deviation.
    double sum = 0, squares = 0, gaps = 0;
    uint64_t seen = sampled_count;
    for (double gap = 0; gaps < 20000;) {
      give(take(10));
      gap += 10;
      if (sampled_count == seen) continue;
      seen = sampled_count;
      sum += gap;
      squares += gap * gap;
      gaps += 1;
      gap = 0;
    }
    const double average = sum / gaps, deviation = std::sqrt(squares / gaps - average * average);
    EXPECT_NEAR(average, 1000, 50);
    EXPECT_NEAR(deviation, 1000, 60);
  });
}

TEST(Sampling, WhoStopsLosesNothing) {
  watching([] {
    void *kept = take(100);
    sampling::watch(nullptr);
    EXPECT_FALSE(sampling::counts());
    const uint64_t before = sampled_count;
    for (int i = 0; i < 1000; ++i) give(take(200));
    EXPECT_EQ(sampled_count, before);
    EXPECT_EQ(size_watched(kept), 100u);
    give(kept);
  });
}

TEST(Sampling, ThreadsThatComeAndGoWhileItIsSwitched) {
  watching([] {
    std::atomic<bool> done{false};
    std::vector<std::thread> running;
    for (int t = 0; t < 3; ++t) {
      running.emplace_back([&] {
        while (!done) {
          std::thread([] {
            std::vector<void *> blocks;
            for (size_t i = 1; i < 300; ++i) blocks.push_back(take(i * 37 % 3000));
            for (void *block : blocks) give(block);
          }).join();
        }
      });
    }
    for (int i = 0; i < 300; ++i) {
      sampling::watch(i % 2 == 0 ? nullptr : &kWatcher);
      std::this_thread::yield();
    }
    done = true;
    for (auto &thread : running) thread.join();
    EXPECT_GT(sampled_count, 0u);
  });
}

TEST(Sampling, EachBlockIsNotedOnRequest) {
  in_own_process([] {
    ASSERT_TRUE(heap::set_up());
    give(take(10));
    sampling::watch_each(note);
    uint64_t count = 0, bytes = 0;
    for (const size_t size : {size_t{0}, size_t{8}, size_t{100}, size_t{1024}, size_t{5000}, size_t{32768}, size_t{50000}}) {
      void *blocks[] = {take(size), allocate_zeroed(size), allocate_aligned(256, size), reallocate(take(size), 70000, "realloc")};
      count += 5;
      bytes += 4 * size + (size == 0) + 70000;
      for (void *block : blocks) give(block);
      EXPECT_EQ(noted_count.load(), count) << size;
      EXPECT_EQ(noted_bytes.load(), bytes) << size;
    }
    sampling::watch_each(nullptr);
    give(take(10));
    EXPECT_EQ(noted_count.load(), count);
  });
}

TEST(Sampling, PackedTinyBlocksAreNotedToo) {
  in_own_process([] {
    ASSERT_TRUE(heap::set_up());
    sampling::watch_each(note);
    std::vector<void *> blocks;
    for (int i = 0; i < 200'000; ++i) blocks.push_back(take(8));
    EXPECT_EQ(noted_count.load(), blocks.size());
    EXPECT_GT(std::count_if(blocks.begin(), blocks.end(), [](const void *block) { return address_of(block) % kMinAlign != 0; }), 1000);
  });
}

TEST(Sampling, ImpossibleSizesAreNotCounted) {
  watching([] {
    for (const size_t size : {size_t{PTRDIFF_MAX}, size_t{PTRDIFF_MAX} + 1, SIZE_MAX, SIZE_MAX - 4096}) {
      EXPECT_EQ(take(size), nullptr);
      EXPECT_EQ(allocate_zeroed(size), nullptr);
      EXPECT_EQ(allocate_aligned(64, size), nullptr);
    }
    void *block = take(1000);
    EXPECT_EQ(size_watched(block), 1000u);
    give(block);
  });
}

}  // namespace
}  // namespace warren
