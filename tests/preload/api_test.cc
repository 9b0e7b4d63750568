// The functions of warren/allocator.h, in a program that is linked with the library. Suite 'unit'.
// Invariant: the statistics are exact in a process where nothing else allocates meanwhile.
#include "warren/warren.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <malloc.h>
#include <pthread.h>
#include <string>

extern "C" int api_c11_works(void);

namespace {

wr_mem_stats read() {
  wr_mem_stats stats;
  wr_read_mem_stats(&stats);
  return stats;
}

TEST(Api, CanBeUsedFromC11) { EXPECT_EQ(api_c11_works(), 1); }

TEST(Statistics, CountEveryBlockOfEachKind) {
  constexpr size_t kCount = 5000;
  static void *blocks[kCount];
  for (size_t size : {size_t{5}, size_t{16}, size_t{24}, size_t{100}, size_t{1000}, size_t{5000}, size_t{32768}, size_t{50000}}) {
    const size_t count = size > 10000 ? 50 : kCount;
    const wr_mem_stats before = read();
    for (size_t i = 0; i < count; ++i) blocks[i] = malloc(size);
    const wr_mem_stats live = read();
    for (size_t i = 0; i < count; ++i) free(blocks[i]);
    const wr_mem_stats after = read();
    EXPECT_EQ(live.mallocs - before.mallocs, count) << size;
    EXPECT_EQ(live.heap_objects - before.heap_objects, count) << size;
    EXPECT_EQ(live.alloc_bytes - before.alloc_bytes, count * wr_size_class(size)) << size;
    EXPECT_EQ(after.frees - live.frees, count) << size;
    EXPECT_EQ(after.mallocs, live.mallocs) << size;
    EXPECT_EQ(after.alloc_bytes, before.alloc_bytes) << size;
    EXPECT_EQ(after.total_alloc_bytes - before.total_alloc_bytes, count * wr_size_class(size)) << size;
  }
}

TEST(Statistics, CountBlocksThatAreRecycledInACache) {
  const wr_mem_stats before = read();
  for (int i = 0; i < 100000; ++i) free(malloc(48));
  const wr_mem_stats after = read();
  EXPECT_EQ(after.mallocs - before.mallocs, 100000u);
  EXPECT_EQ(after.frees - before.frees, 100000u);
}

void *free_it(void *block) {
  free(block);
  return nullptr;
}

TEST(Statistics, KeepWhatAThreadCountedThatIsGone) {
  const wr_mem_stats before = read();
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, nullptr, free_it, malloc(777)), 0);
  pthread_join(thread, nullptr);
  const wr_mem_stats after = read();
  const unsigned row = [] {
    unsigned at = 1;
    while (read().by_size[at].size != wr_size_class(777)) ++at;
    return at;
  }();
  EXPECT_EQ(after.by_size[row].mallocs - before.by_size[row].mallocs, 1u);
  EXPECT_EQ(after.by_size[row].frees - before.by_size[row].frees, 1u);
}

TEST(Statistics, AddUp) {
  const wr_mem_stats stats = read();
  EXPECT_EQ(stats.mallocs - stats.frees, stats.heap_objects);
  EXPECT_EQ(stats.heap_sys, stats.heap_idle + stats.heap_inuse);
  EXPECT_LE(stats.heap_released, stats.heap_idle);
  EXPECT_LE(stats.alloc_bytes + stats.cache_inuse, stats.heap_inuse);
  EXPECT_GE(stats.sys_bytes, stats.heap_sys + stats.metadata_sys);
  uint64_t mallocs = 0, frees = 0;
  for (const auto &row : stats.by_size) {
    mallocs += row.mallocs;
    frees += row.frees;
  }
  EXPECT_EQ(mallocs, stats.mallocs);
  EXPECT_EQ(frees, stats.frees);
}

TEST(Release, GivesFreePagesBack) {
  void *block = malloc(64 << 20);
  memset(block, 1, 64 << 20);
  free(block);
  EXPECT_GE(wr_release_free_memory(), size_t{64} << 20);
  const wr_mem_stats stats = read();
  EXPECT_EQ(stats.heap_released, stats.heap_idle);
  EXPECT_EQ(malloc_trim(0), 0);  // nothing left
}

TEST(SizeClass, IsWhatMallocUses) {
  for (size_t size = 0; size < 300000; size += size / 50 + 1) {
    void *block = malloc(size);
    EXPECT_EQ(wr_size_class(size), malloc_usable_size(block)) << size;
    free(block);
  }
  EXPECT_EQ(wr_size_class(SIZE_MAX), 0u);
}

TEST(Files, NeedAName) {
  EXPECT_EQ(wr_heap_dump(nullptr), EINVAL);
  EXPECT_EQ(wr_profile_dump(nullptr), EINVAL);
}

TEST(Options, CanBeReadAndSet) {
  char text[64];
  EXPECT_EQ(wr_conf_get("arena", text, sizeof text), 4);
  EXPECT_STREQ(text, "1TiB");
  EXPECT_EQ(wr_conf_get("arena", text, 3), 4);
  EXPECT_STREQ(text, "1T");
  EXPECT_EQ(wr_conf_get("no_such_key", text, sizeof text), -1);
  EXPECT_EQ(wr_conf_set("stats", "exit"), 0);
  EXPECT_EQ(wr_conf_get("stats", text, sizeof text), 4);
  EXPECT_STREQ(text, "exit");
  EXPECT_EQ(wr_conf_set("stats", "sometimes"), EINVAL);
  EXPECT_EQ(wr_conf_set("stats", "off"), 0);
  EXPECT_EQ(wr_conf_set("arena", "2TiB"), EPERM);
  EXPECT_EQ(wr_conf_set("no_such_key", "1"), ENOENT);
  EXPECT_EQ(wr_conf_set("memlimit", "3GiB"), 0);
  EXPECT_EQ(wr_conf_get("memlimit", text, sizeof text), 4);
  EXPECT_STREQ(text, "3GiB");
  EXPECT_EQ(wr_conf_set("memlimit", "off"), 0);
  EXPECT_EQ(wr_conf_set(nullptr, "1"), ENOENT);
  EXPECT_EQ(wr_conf_set("gogc", nullptr), EINVAL);
  EXPECT_EQ(wr_conf_get(nullptr, text, sizeof text), -1);
}

std::string option(const char *key) {
  char text[64];
  wr_conf_get(key, text, sizeof text);
  return text;
}

// gogc, memlimit and maxprocs have functions as well, and each way sees what came the other.
TEST(Options, AreOneWithTheirFunctions) {
  EXPECT_EQ(wr_conf_set("gogc", "50"), 0);
  EXPECT_EQ(wr_gc_set_percent(100), 50);
  EXPECT_EQ(option("gogc"), "100");
  EXPECT_EQ(wr_conf_set("gogc", "50"), 0);  // what it was before the function: not the same as no change
  EXPECT_EQ(wr_gc_set_percent(-1), 50);
  EXPECT_EQ(option("gogc"), "off");
  EXPECT_EQ(wr_conf_set("gogc", "100"), 0);
  EXPECT_EQ(wr_gc_set_percent(100), 100);
  EXPECT_EQ(wr_gc_set_memory_limit(int64_t{1} << 30), INT64_MAX);
  EXPECT_EQ(option("memlimit"), "1GiB");
  EXPECT_EQ(wr_conf_set("memlimit", "off"), 0);
  EXPECT_EQ(wr_gc_set_memory_limit(-1), INT64_MAX);

  const auto resized = [](void *) {
    wr_max_procs(3);
    EXPECT_EQ(option("maxprocs"), "3");
    EXPECT_EQ(wr_conf_set("maxprocs", "5"), 0);
    EXPECT_EQ(wr_max_procs(2), 5);
    EXPECT_EQ(wr_conf_set("maxprocs", "5"), 0);
    return wr_max_procs(0);
  };
  EXPECT_EQ(wr_run(resized, nullptr), 5);
  EXPECT_EQ(wr_conf_set("maxprocs", "4"), 0);
  EXPECT_EQ(wr_max_procs(0), 4) << "between two runs";
}

// Neither is looked at by a cycle when there is none.
TEST(Options, AGoalThatIsSetWhereThereWasNoneIsKept) {
  wr_gc_set_percent(-1);
  wr_mem_stats before, after;
  wr_read_mem_stats(&before);
  EXPECT_EQ(wr_conf_set("memlimit", "64MiB"), 0);
  for (int i = 0; i < 2000; ++i) ASSERT_NE(wr_gc_malloc(100'000), nullptr);
  wr_read_mem_stats(&after);
  EXPECT_GT(after.num_gc, before.num_gc);
  EXPECT_EQ(wr_conf_set("memlimit", "off"), 0);
  EXPECT_EQ(wr_conf_set("gogc", "100"), 0);
}

}  // namespace
