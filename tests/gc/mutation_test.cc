// How stores are seen: gc/mutation.h and its mechanisms, each test on each of them.
// Invariant: what is asserted is what the collector concludes: a page that is not visited has not been stored into.
#include "gc/mutation.h"

#include "tests/allocator/own_process.h"
#include "tests/gc/watched_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <emmintrin.h>
#include <fstream>
#include <iterator>
#include <random>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace warren::gc {
namespace {

ON_EACH_MECHANISM(Mutation);

// --- what is seen ---

TEST_P(Mutation, ExactlyTheStoresAreSeen) {
  const Memory memory(600);
  memory.touch();
  std::mt19937 random(20);
  ASSERT_TRUE(watch(memory));
  EXPECT_EQ(fetch(memory, false).pages, Pages{}) << "those before do not count";
  Pages before;
  for (int round = 0; round < 20; ++round) {
    Pages stored;
    for (auto i = random() % 300; i-- > 0;) stored.insert(random() % memory.pages());
    for (const size_t page : stored) memory.store(page);
    const Pages expected = and_before(stored, before);
    EXPECT_EQ(fetch(memory, false).pages, expected);
    EXPECT_EQ(fetch(memory, false).pages, expected) << "to look clears nothing";
    const Fetched fetched = fetch(memory, true);
    EXPECT_EQ(fetched.pages, expected);
    EXPECT_TRUE(fetched.exact);
    before = expected;
    EXPECT_EQ(fetch(memory, false).pages, and_before({}, before));
  }
}

TEST_P(Mutation, AnyPartOfWhatIsWatchedCanBeAsked) {
  const Memory memory(300);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  for (size_t i = 0; i < 300; i += 3) memory.store(i);
  std::mt19937 random(21);
  for (int round = 0; round < 100; ++round) {
    size_t from = random() % 300, end = random() % 301;
    if (from > end) std::swap(from, end);
    Pages expected;
    for (size_t i = from; i < end; ++i) {
      if (i % 3 == 0) expected.insert(i);
    }
    EXPECT_EQ(fetch(memory, memory.range(from, end), false).pages, expected) << from << " to " << end;
  }
  if (!clears_) return;
  EXPECT_EQ(fetch(memory, memory.range(7, 200), true).pages.size(), 64u);
  EXPECT_EQ(fetch(memory, memory.range(0, 300), false).pages.size(), 100u - 64) << "only that part was cleared";
}

TEST_P(Mutation, EveryKindOfStoreIsSeen) {
  const Memory memory(64);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  alignas(16) uint64_t pair[2] = {1, 2};
  char *slot = memory.page(3) + 32;
  uint64_t low = 0, high = 0;
  asm volatile("lock cmpxchg16b %0"
               : "+m"(*reinterpret_cast<__int128 *>(slot)), "+a"(low), "+d"(high)
               : "b"(pair[0]), "c"(pair[1])
               : "cc");
  _mm_store_si128(reinterpret_cast<__m128i *>(memory.page(5)), _mm_set1_epi32(7));
  _mm_stream_si128(reinterpret_cast<__m128i *>(memory.page(7)), _mm_set1_epi32(7));
  _mm_sfence();
  memcpy(memory.page(9) + 100, memory.page(20), 2 * kPage);      // 9, 10, 11
  *reinterpret_cast<volatile uint64_t *>(memory.page(14) - 4) = ~uint64_t{0};  // across 13 and 14
  reinterpret_cast<std::atomic<uint64_t> *>(memory.page(16))->fetch_add(1);
  void *to = memory.page(18);
  size_t count = 16;
  asm volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(5) : "memory");
  EXPECT_EQ(fetch(memory, true).pages, (Pages{3, 5, 7, 9, 10, 11, 13, 14, 16, 18}));
}

TEST_P(Mutation, ReadingIsNoStore) {
  const Memory memory(64);
  for (size_t i = 0; i < 32; ++i) memory.store(i);
  ASSERT_TRUE(watch(memory));
  unsigned sum = 0;
  for (size_t i = 0; i < 64; ++i) sum += static_cast<unsigned char>(*const_cast<volatile char *>(memory.page(i)));
  EXPECT_EQ(fetch(memory, true).pages, Pages{}) << sum;
  memory.store(40);
  memory.store(3);
  EXPECT_EQ(fetch(memory, true).pages, (Pages{3, 40}));
}

TEST_P(Mutation, SystemCallsStoreToo) {
  const Memory memory(64);
  memory.touch();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  char text[3 * kPage];
  memset(text, 'x', sizeof text);
  ASSERT_EQ(write(ends[1], text, sizeof text), static_cast<ssize_t>(sizeof text));
  ASSERT_TRUE(watch(memory));
  if (GetParam() == Choice::kProtect) {
    EXPECT_EQ(read(ends[0], memory.page(2), 100), -1) << "the price of this mechanism";
    EXPECT_EQ(errno, EFAULT);
  } else {
    EXPECT_EQ(read(ends[0], memory.page(2) + 10, 2 * kPage), static_cast<ssize_t>(2 * kPage));
    EXPECT_EQ(getrandom(memory.page(30), 100, 0), 100);
    EXPECT_EQ(fetch(memory, true).pages, (Pages{2, 3, 4, 30}));
    if (clears_) {
      EXPECT_EQ(read(ends[0], memory.page(3), 10), 10);
      EXPECT_EQ(fetch(memory, true).pages, (Pages{3}));
    }
  }
  close(ends[0]);
  close(ends[1]);
}

TEST_P(Mutation, UntouchedPagesAreWatched) {
  const Memory memory(1024);
  ASSERT_TRUE(watch(memory));
  EXPECT_EQ(fetch(memory, false).pages, Pages{});
  memory.store(0);
  memory.store(777);
  EXPECT_EQ(fetch(memory, true).pages, (Pages{0, 777}));
}

TEST_P(Mutation, WhatIsGivenBackIsSeenWhenItIsUsedAgain) {
  const Memory memory(64);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  ASSERT_EQ(madvise(memory.page(10), 20 * kPage, MADV_DONTNEED), 0);
  memory.store(12);
  memory.store(40);
  const Pages pages = fetch(memory, true).pages;
  EXPECT_TRUE(pages.contains(12) && pages.contains(40));
  for (const size_t page : pages) EXPECT_TRUE((page >= 10 && page < 30) || page == 40) << page;
  memory.store(13);
  EXPECT_TRUE(fetch(memory, true).pages.contains(13));
}

TEST_P(Mutation, WhatIsMappedAnewIsDirty) {
  if (GetParam() == Choice::kProtect) GTEST_SKIP() << "pages that are watched must not be mapped over";
  const Memory memory(64);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  memory.store(1);
  ASSERT_NE(mmap(memory.page(20), 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            MAP_FAILED);
  memory.store(21);
  Fetched fetched = fetch(memory, false);
  EXPECT_TRUE(fetched.pages.contains(1));
  EXPECT_TRUE(fetched.pages.contains(21));
  EXPECT_FALSE(fetched.pages.contains(40)) << "the rest is told apart";
  if (played.playing()) return;
  EXPECT_EQ(fetched.pages, (Pages{1, 20, 21, 22, 23}));
  EXPECT_FALSE(fetched.exact);
  EXPECT_EQ(fetch(memory, true).pages, all(64));
  memory.store(22);
  fetched = fetch(memory, true);
  EXPECT_EQ(fetched.pages, Pages{22}) << "watched again by the pass that found it";
  EXPECT_TRUE(fetched.exact);
}

TEST_P(Mutation, WhatIsMovedIsDirtyAndWatchedAgain) {
  if (GetParam() == Choice::kProtect) GTEST_SKIP() << "pages that are watched must not be moved";
  const Memory memory(64);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  for (const int flags : {MREMAP_MAYMOVE | MREMAP_FIXED, MREMAP_MAYMOVE | MREMAP_FIXED | 4 /* MREMAP_DONTUNMAP */}) {
    ASSERT_EQ(mremap(memory.page(8), 4 * kPage, 4 * kPage, flags, memory.page(40)), memory.page(40));
    if ((flags & 4) == 0) {
      mmap(memory.page(8), 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    }
    memory.store(9);
    const Pages pages = fetch(memory, false).pages;
    EXPECT_TRUE(pages.contains(9));
    if (played.playing()) return;
    for (const size_t page : {40u, 41u, 42u, 43u}) EXPECT_TRUE(pages.contains(page)) << page;
    ASSERT_TRUE(watch(memory));
    EXPECT_TRUE(fetch(memory, false).exact);
    memory.store(42);
    memory.store(9);
    const Fetched fetched = fetch(memory, true);
    EXPECT_EQ(fetched.pages, (Pages{9, 42}));
    EXPECT_TRUE(fetched.exact);
  }
}

TEST_P(Mutation, HugePages) {
  const Memory memory(4 * kHugePage / kPage, MADV_HUGEPAGE);
  memory.touch();
  const size_t unit = kHugePage / kPage;
  ASSERT_TRUE(watch(memory));
  memory.store(unit + 5);
  EXPECT_EQ(fetch(memory, true).pages, Pages{unit + 5});
  // A range that begins and ends inside huge pages.
  mutation::unwatch();
  const Range part = memory.range(2 * unit + 10, 3 * unit + 10);
  ASSERT_TRUE(mutation::watch(&part, 1));
  memory.store(2 * unit + 9);
  memory.store(2 * unit + 10);
  memory.store(3 * unit + 9);
  memory.store(3 * unit + 10);
  EXPECT_EQ(fetch(memory, part, true).pages, (Pages{2 * unit + 10, 3 * unit + 9}));
}

TEST_P(Mutation, WhatWasNeverWatchedIsDirty) {
  const Memory memory(64);
  const Range part = memory.range(0, 32);
  memory.touch();
  ASSERT_TRUE(mutation::watch(&part, 1));
  memory.store(4);
  memory.store(50);
  const Pages pages = fetch(memory, false).pages;
  EXPECT_TRUE(pages.contains(4) && pages.contains(50));
  if (clears_) {
    for (size_t i = 32; i < 64; ++i) EXPECT_TRUE(pages.contains(i)) << i;
  }
}

TEST_P(Mutation, RangesCanBeAddedDuringACycle) {
  const Memory memory(128);
  memory.touch();
  EXPECT_TRUE(mutation::cover(memory.range()));
  const Range first = memory.range(0, 40), second = memory.range(60, 128);
  ASSERT_TRUE(mutation::watch(&first, 1));
  memory.store(3);
  ASSERT_TRUE(mutation::watch(&second, 1));
  memory.store(70);
  EXPECT_EQ(fetch(memory, first, false).pages, Pages{3}) << "still known";
  EXPECT_EQ(fetch(memory, second, false).pages, Pages{70});
}

TEST_P(Mutation, AfterwardsNothingIsKnownAndStoresAreFree) {
  const Memory memory(64);
  memory.touch();
  for (int cycle = 0; cycle < 5; ++cycle) {
    ASSERT_TRUE(watch(memory));
    EXPECT_EQ(fetch(memory, true).pages, Pages{});
    memory.store(5);
    mutation::unwatch();
    memory.touch();
    const Fetched fetched = fetch(memory, true);
    EXPECT_EQ(fetched.pages, all(64));
    EXPECT_FALSE(fetched.exact);
  }
  // Not one page is protected any more: a system call that stores would fail, or a page would be clean.
  EXPECT_EQ(getrandom(memory.page(0), 256, 0), 256);
}

TEST_P(Mutation, ManyRanges) {
  const Memory memory(20000);
  memory.touch();
  std::vector<Range> ranges;
  for (size_t i = 0; i < 20000; i += 3) ranges.push_back(memory.range(i, i + 2));
  mutation::cover(memory.range());
  const auto mappings = [] {
    std::ifstream maps("/proc/self/maps");
    return std::count(std::istreambuf_iterator<char>(maps), {}, '\n');
  };
  const auto before = mappings();
  for (int cycle = 0; cycle < 2; ++cycle) {
    ASSERT_TRUE(mutation::watch(ranges.data(), ranges.size()));
    if (GetParam() != Choice::kProtect) {
      EXPECT_LE(mappings(), before + 4);
    }
    for (size_t i = 0; i < 20000; i += 300) memory.store(i);
    Pages expected, found;
    for (size_t i = 0; i < 20000; i += 300) expected.insert(i);
    for (const Range &range : ranges) found.merge(fetch(memory, range, true).pages);
    EXPECT_EQ(found, expected);
    mutation::unwatch();
  }
  EXPECT_LE(mappings(), before + 4);
}

// --- no store is lost ---

// What a concurrent marker does: it looks at every page once, then at dirty ones, and at last at those that are dirty
// when all threads stand still. What it saw last in each page must be what stands there.
TEST_P(Mutation, NoStoreIsLost) {
  if (played.playing()) GTEST_SKIP() << "the copies are not taken in one moment";
  constexpr unsigned kThreads = 4, kPages = 96;
  struct alignas(kPage) Slots {
    std::atomic<uint64_t> slot[kThreads];
  };
  const Memory memory(kPages);
  auto *pages = reinterpret_cast<Slots *>(memory.page(0));
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::atomic<bool> ending{false}, pausing{false};
  std::atomic<unsigned> paused{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(seed + t);
      uint64_t next = 0;
      while (!ending) {
        for (auto i = random() % 64; i-- > 0;)
          pages[random() % kPages].slot[t].store(++next, std::memory_order_relaxed);
        if (random() % 16 == 0) std::this_thread::yield();
        if (!pausing) continue;
        ++paused;
        while (pausing) std::this_thread::yield();
        --paused;
      }
    });
  }
  uint64_t seen[kPages][kThreads];
  struct Marker {
    Slots *pages;
    uint64_t (&seen)[kPages][kThreads];
    void look(size_t page) {
      for (unsigned t = 0; t < kThreads; ++t) seen[page][t] = pages[page].slot[t].load(std::memory_order_relaxed);
    }
  } marker{pages, seen};
  const auto visit = [](Range dirty, void *context) {
    auto *to = static_cast<Marker *>(context);
    for (uintptr_t at = dirty.start; at < dirty.end; at += kPage) to->look((at - address_of(to->pages)) / kPage);
  };
  std::mt19937 random(seed);
  faults.slow_protection = true;
  for (int cycle = 0; cycle < (GetParam() == Choice::kProtect ? 20 : 150) && !HasFailure(); ++cycle) {
    ASSERT_TRUE(watch(memory));
    for (size_t page = 0; page < kPages; ++page) marker.look(page);
    for (auto pass = random() % 6; pass-- > 0;) {
      EXPECT_TRUE(mutation::for_each_dirty(memory.range(), true, visit, &marker));
      if (random() % 2 == 0) std::this_thread::yield();
      if (random() % 8 == 0) madvise(memory.page(random() % kPages), kPage, MADV_DONTNEED);
    }
    pausing = true;
    while (paused != kThreads) std::this_thread::yield();
    EXPECT_TRUE(mutation::for_each_dirty(memory.range(), false, visit, &marker));
    for (size_t page = 0; page < kPages; ++page) {
      for (unsigned t = 0; t < kThreads; ++t) {
        // A page given back reads as zero, which the program has not stored and which keeps nothing alive.
        const uint64_t stands = pages[page].slot[t];
        EXPECT_TRUE(seen[page][t] == stands || stands == 0) << "cycle " << cycle << " page " << page << " thread " << t;
      }
    }
    mutation::unwatch();
    pausing = false;
    while (paused != 0) std::this_thread::yield();
  }
  ending = true;
  for (std::thread &thread : threads) thread.join();
}

TEST_P(Mutation, WorkersFetchAtOnce) {
  if (played.playing()) GTEST_SKIP();
  const Memory memory(4096);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  for (size_t i = 0; i < 4096; i += 2) memory.store(i);
  std::vector<std::thread> workers;
  std::vector<Pages> found(4);
  for (size_t w = 0; w < 4; ++w) {
    workers.emplace_back([&, w] { found[w] = fetch(memory, memory.range(w * 1024, (w + 1) * 1024), true).pages; });
  }
  for (std::thread &worker : workers) worker.join();
  for (const Pages &pages : found) EXPECT_EQ(pages.size(), 512u);
  EXPECT_EQ(fetch(memory, false).pages, Pages{});
}

// --- fork ---

TEST_P(Mutation, AForkedChildBeginsAnew) {
  const Memory memory(64);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  memory.store(3);
  for (const bool with_handlers : {true, false}) {
    in_own_process([&] {
      if (with_handlers) mutation::reset_in_child();
      memory.store(7);
      if (GetParam() != Choice::kProtect || with_handlers) {
        const Fetched fetched = fetch(memory, false);
        EXPECT_EQ(fetched.pages, all(64)) << "nothing is watched here";
        EXPECT_FALSE(fetched.exact);
      }
      ASSERT_EQ(mutation::set_up(GetParam()), static_cast<Mechanism>(GetParam()));
      if (GetParam() == Choice::kUserfault) {
        EXPECT_EQ(descriptors_of("userfaultfd").size(), 1u) << "the parent's is closed";
        EXPECT_EQ(descriptors_of("/pagemap").size(), 1u);
      }
      ASSERT_TRUE(watch(memory));
      memory.store(9);
      EXPECT_EQ(fetch(memory, true).pages, Pages{9});
    });
    EXPECT_EQ(fetch(memory, false).pages, Pages{3}) << "the child's stores and cycles are its own";
  }
  memory.store(4);
  EXPECT_EQ(fetch(memory, true).pages, (Pages{3, 4}));
  memory.store(5);
  EXPECT_EQ(fetch(memory, true).pages, and_before({5}, {3, 4}));
}

TEST_P(Mutation, TheParentsStoresAreNotTheChilds) {
  if (played.playing()) GTEST_SKIP();
  const Memory memory(16);
  memory.touch();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  ASSERT_NE(child, -1);
  if (child == 0) {
    alarm(60);
    mutation::reset_in_child();
    mutation::set_up(GetParam());
    bool good = watch(memory);
    char go;
    good &= read(ends[0], &go, 1) == 1 && fetch(memory, true).pages.empty();
    memory.store(1);
    good &= fetch(memory, true).pages == Pages{1};
    _exit(good ? 0 : 1);
  }
  ASSERT_TRUE(watch(memory));
  memory.store(2);
  EXPECT_EQ(write(ends[1], "x", 1), 1);
  int status;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(fetch(memory, true).pages, Pages{2});
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace warren::gc
