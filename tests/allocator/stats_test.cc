// What the heap says it holds: allocator/stats.h. Run as a test of its own.
// Invariant: in a quiet process every number is exact, so all of them are compared with what the test itself did.
#include "allocator/stats.h"

#include "allocator/heap.h"
#include "allocator/large.h"
#include "allocator/page_heap.h"
#include "allocator/size_class.h"
#include "tests/allocator/base/captured_fd.h"
#include "tests/allocator/own_process.h"
#include "tests/allocator/packed_tiny.h"

#include <atomic>
#include <cstring>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace warren {
namespace {

void *take(size_t size) { return allocate<allocate_slow>(size); }
void free_slow(void *block) { release_slow(block, "free"); }
void give(void *block) { release<free_slow>(block); }

wr_mem_stats now() {
  wr_mem_stats out;
  memset(&out, 0xcc, sizeof out);
  stats::read(out);
  return out;
}

// What must hold of any snapshot of a quiet process.
void expect_consistent(const wr_mem_stats &stats) {
  uint64_t mallocs = 0, frees = 0, live_bytes = 0, total_bytes = 0;
  for (unsigned i = 0; i < WR_SIZE_CLASSES; ++i) {
    const auto &row = stats.by_size[i];
    EXPECT_EQ(row.size, i == 0 ? 0 : kSizeClasses[i].object_size);
    EXPECT_GE(row.mallocs, row.frees) << i;
    mallocs += row.mallocs;
    frees += row.frees;
    live_bytes += (row.mallocs - row.frees) * row.size;
    total_bytes += row.mallocs * row.size;
  }
  EXPECT_EQ(stats.mallocs, mallocs);
  EXPECT_EQ(stats.frees, frees);
  EXPECT_EQ(stats.heap_objects, mallocs - frees);
  EXPECT_EQ(stats.alloc_bytes, live_bytes + page_heap::stats().large_pages * kPageSize - large::stats().held_bytes);
  EXPECT_GE(stats.total_alloc_bytes, total_bytes);
  EXPECT_GE(stats.total_alloc_bytes, stats.alloc_bytes);
  EXPECT_EQ(stats.heap_inuse + stats.heap_idle, stats.heap_sys);
  EXPECT_LE(stats.heap_released, stats.heap_idle);
  EXPECT_LE(stats.alloc_bytes + stats.cache_inuse, stats.heap_inuse);
  EXPECT_GT(stats.sys_bytes, stats.heap_sys + stats.metadata_sys);
  EXPECT_LE(stats.span_inuse, stats.metadata_sys);
  EXPECT_EQ(stats.stacks_inuse, 0u);
  EXPECT_EQ(stats.num_gc + stats.next_gc + stats.pause_total_ns + stats.last_gc_unix_ns, 0u);
}

TEST(Stats, BeforeTheFirstBlock) {
  in_own_process([] {
    const wr_mem_stats stats = now();
    EXPECT_EQ(stats.mallocs + stats.frees + stats.heap_sys + stats.sys_bytes, 0u);
    EXPECT_EQ(stats.by_size[67].size, 32768u) << "the classes are named even so";
    EXPECT_FALSE(heap::is_set_up()) << "asking sets nothing up";
  });
}

TEST(Stats, EveryClassIsCountedExactly) {
  in_own_process([] {
    ASSERT_TRUE(heap::set_up());
    pack_tiny_blocks();
    for (unsigned number = 1; number < kClassCount; ++number) {
      if (number == kUnalignedClass) continue;
      const size_t size = kSizeClasses[number].object_size;
      const wr_mem_stats before = now();
      std::vector<void *> blocks;
      for (int i = 0; i < 300; ++i) blocks.push_back(take(size));
      for (int i = 0; i < 100; ++i) {
        give(blocks.back());
        blocks.pop_back();
      }
      const wr_mem_stats after = now();
      EXPECT_EQ(after.by_size[number].mallocs, before.by_size[number].mallocs + 300) << size;
      EXPECT_EQ(after.by_size[number].frees, before.by_size[number].frees + 100) << size;
      EXPECT_EQ(after.heap_objects, before.heap_objects + 200);
      EXPECT_EQ(after.alloc_bytes, before.alloc_bytes + 200 * size);
      EXPECT_EQ(after.total_alloc_bytes, before.total_alloc_bytes + 300 * size);
      expect_consistent(after);
      for (void *block : blocks) give(block);
      EXPECT_EQ(now().heap_objects, before.heap_objects);
    }
  });
}

TEST(Stats, LargeBlocks) {
  in_own_process([] {
    void *a = take(100000), *b = take(1000000);
    wr_mem_stats stats = now();
    EXPECT_EQ(stats.by_size[0].mallocs, 2u);
    EXPECT_EQ(stats.alloc_bytes, (13 + 123) * kPageSize);
    expect_consistent(stats);
    a = reallocate(a, 200000, "realloc");
    stats = now();
    EXPECT_EQ(stats.by_size[0].mallocs - stats.by_size[0].frees, 2u);
    EXPECT_EQ(stats.alloc_bytes, (25 + 123) * kPageSize);
    give(a);
    give(b);
    stats = now();
    EXPECT_EQ(stats.heap_objects, 0u);
    EXPECT_EQ(stats.alloc_bytes, 0u);
    expect_consistent(stats);
  });
}

TEST(Stats, ReallocAndCallocCountAsBlocks) {
  in_own_process([] {
    ASSERT_TRUE(heap::set_up());
    const wr_mem_stats before = now();
    void *block = allocate_zeroed(100);
    block = reallocate(block, 1000, "realloc");
    const wr_mem_stats after = now();
    EXPECT_EQ(after.mallocs - before.mallocs, 2u);
    EXPECT_EQ(after.frees - before.frees, 1u);
    give(block);
    expect_consistent(now());
  });
}

TEST(Stats, ThreadsThatAreGoneAreCounted) {
  in_own_process([] {
    ASSERT_TRUE(heap::set_up());
    const wr_mem_stats before = now();
    std::vector<std::vector<void *>> kept(4);
    std::vector<std::thread> threads;
    for (auto &mine : kept) {
      threads.emplace_back([&mine] {
        for (size_t i = 0; i < 5000; ++i) {
          mine.push_back(take(i % 3000));
          if (i % 2 == 0) {
            give(mine.back());
            mine.pop_back();
          }
        }
      });
    }
    for (std::thread &thread : threads) thread.join();
    wr_mem_stats after = now();
    EXPECT_EQ(after.mallocs - before.mallocs, 4 * 5000u);
    EXPECT_EQ(after.frees - before.frees, 4 * 2500u);
    EXPECT_EQ(after.cache_inuse, before.cache_inuse) << "their caches are empty and gone";
    expect_consistent(after);
    for (const auto &mine : kept) {
      for (void *block : mine) give(block);
    }
    after = now();
    EXPECT_EQ(after.heap_objects, before.heap_objects);
    expect_consistent(after);
  });
}

TEST(Stats, RandomOperationsComeOutExact) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  in_own_process([seed] {
    std::mt19937 random(seed);
    ASSERT_TRUE(heap::set_up());
    const wr_mem_stats before = now();
    std::vector<std::pair<void *, size_t>> live;
    uint64_t mallocs = 0, frees = 0, bytes = 0;
    for (int step = 0; step < 20000; ++step) {
      if (random() % 5 < 3 || live.empty()) {
        const size_t size = random() % (size_t{1} << (random() % 18));
        live.emplace_back(take(size), rounded_size(size));
        bytes += live.back().second;
        ++mallocs;
      } else {
        const size_t at = random() % live.size();
        give(live[at].first);
        bytes -= live[at].second;
        live[at] = live.back();
        live.pop_back();
        ++frees;
      }
      if (step % 500 == 0) {
        const wr_mem_stats after = now();
        ASSERT_EQ(after.mallocs - before.mallocs, mallocs);
        ASSERT_EQ(after.frees - before.frees, frees);
        ASSERT_EQ(after.alloc_bytes - before.alloc_bytes, bytes);
        expect_consistent(after);
      }
    }
  });
}

// A cache's figures move to those of the retired in one step: none is seen in both, or in neither.
TEST(Stats, ThreadsThatEndAreCountedOnce) {
  in_own_process([] {
    ASSERT_TRUE(heap::set_up());
    constexpr unsigned kThreads = 600, kPairs = 500;
    const wr_mem_stats before = now();
    std::atomic<bool> done{false};
    std::thread starter([&done] {
      for (unsigned i = 0; i < kThreads; ++i) {
        std::thread([] {
          for (unsigned pair = 0; pair < kPairs; ++pair) give(take(50000));
        }).join();
      }
      done = true;
    });
    wr_mem_stats last = before;
    while (!done && !testing::Test::HasFailure()) {
      const wr_mem_stats stats = now();
      EXPECT_GE(stats.by_size[0].mallocs, last.by_size[0].mallocs);
      EXPECT_GE(stats.by_size[0].frees, last.by_size[0].frees);
      EXPECT_LE(stats.by_size[0].mallocs, before.by_size[0].mallocs + kThreads * kPairs);
      last = stats;
    }
    starter.join();
    const wr_mem_stats after = now();
    EXPECT_EQ(after.by_size[0].mallocs - before.by_size[0].mallocs, uint64_t{kThreads} * kPairs);
    EXPECT_EQ(after.by_size[0].frees - before.by_size[0].frees, uint64_t{kThreads} * kPairs);
  });
}

// Numbers are read one after the other, but none is a difference that goes below zero.
TEST(Stats, ReadingWhileOthersWorkStaysSane) {
  in_own_process([] {
    ASSERT_TRUE(heap::set_up());
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    threads.emplace_back([&stop] {
      while (!stop) {
        std::vector<void *> mine;
        for (size_t size = 0; size < 400; ++size) mine.push_back(take(size * 80));
        for (void *block : mine) give(block);
      }
    });
    threads.emplace_back([&stop] {
      while (!stop) give(take(50000));
    });
    for (int i = 0; i < 4000 && !testing::Test::HasFailure(); ++i) {
      const wr_mem_stats stats = now();
      EXPECT_LE(stats.heap_objects, 10000u);
      EXPECT_LE(stats.by_size[0].frees, stats.by_size[0].mallocs);
      EXPECT_LE(stats.heap_idle, stats.heap_sys);
    }
    stop = true;
    for (std::thread &thread : threads) thread.join();
    expect_consistent(now());
  });
}

TEST(Stats, TheTable) {
  in_own_process([] {
    void *small = take(100), *large = take(100000);
    give(take(1000));
    CapturedFd captured;
    stats::print(STDERR_FILENO);
    const std::string text = captured.text();
    const wr_mem_stats stats = now();
    std::istringstream lines(text);
    std::string line;
    std::getline(lines, line);
    EXPECT_EQ(line, "warren: statistics of process " + std::to_string(getpid()) +
                        " (wr_mem_stats in warren/allocator.h explains each)");
    const auto has = [&text](const std::string &name, uint64_t value) {
      const std::string number = std::to_string(value);
      return text.find("\n  " + std::string(20 - number.size(), ' ') + number + "  " + name + "\n") !=
             std::string::npos;
    };
    EXPECT_TRUE(has("alloc_bytes", stats.alloc_bytes)) << text;
    EXPECT_TRUE(has("mallocs", 3)) << text;
    EXPECT_TRUE(has("frees", 1)) << text;
    EXPECT_TRUE(has("heap_sys", stats.heap_sys)) << text;
    EXPECT_TRUE(has("sys_bytes", stats.sys_bytes)) << text;
    EXPECT_TRUE(has("metadata_sys", stats.metadata_sys)) << text;
    EXPECT_NE(text.find("\n     large                    1                    0                    1\n"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("\n       112                    1                    0                    1\n"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("\n      1024                    1                    1                    0\n"),
              std::string::npos)
        << text;
    EXPECT_EQ(text.find("\n     32768"), std::string::npos) << "a class that nobody used";
    give(small);
    give(large);
  });
}

}  // namespace
}  // namespace warren
