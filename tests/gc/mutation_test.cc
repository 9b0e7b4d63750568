// How stores are seen: gc/mutation.h and its mechanisms. Each test runs on every mechanism that this kernel has; the
// one that most kernels lack (soft-dirty bits) is played by the test, which compares pages with a copy.
// Invariant: what is asserted is what the collector concludes: a page that is not visited has not been stored into.
#include "gc/mutation.h"

#include "allocator/base/address.h"
#include "allocator/base/os_calls.h"
#include "tests/allocator/base/captured_fd.h"
#include "tests/allocator/own_process.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <emmintrin.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace warren::gc {
namespace {

using mutation::Choice;
using mutation::Mechanism;
using mutation::Range;

constexpr size_t kPage = kOsPageSize;
constexpr size_t kHugePage = size_t{2} << 20;

// --- faults, asked for by a test and met by the wrapped calls below ---

struct Faults {
  unsigned long calls = 0;      // made so far
  unsigned long failing = 0;    // number of the one that fails, 0 for none
  bool all_after = false;       // and all after it
  long error = EPERM;
  bool sandboxed = false;       // what filtered() says
  size_t least_protected = 0;   // mprotect of fewer bytes fails with ENOMEM
} faults;

long fault() {
  const unsigned long number = ++faults.calls;
  const bool hit = faults.failing != 0 && (number == faults.failing || (faults.all_after && number > faults.failing));
  return hit ? -faults.error : 0;
}

// Soft-dirty bits for a kernel that has none: dirty is what differs from a copy taken when the bits were cleared.
class PlayedSoftDirty {
 public:
  void play() { playing_ = true; }
  bool playing() const { return playing_; }
  void clear() {
    copies_.clear();
    std::ifstream maps("/proc/self/maps");
    std::vector<Range> found;
    for (std::string line; std::getline(maps, line);) {
      Range range{};
      char mode[5];
      unsigned long inode;
      if (sscanf(line.c_str(), "%lx-%lx %4s %*s %*s %lu", &range.start, &range.end, mode, &inode) != 4) continue;
      if (mode[1] == 'w' && inode == 0 && range.end - range.start < 64 * kHugePage) found.push_back(range);
    }
    for (const Range &range : found) {
      std::vector<char> &copy = copies_[range.start];
      copy.resize(range.end - range.start);
      read(range.start, copy.data(), copy.size());
    }
  }
  bool dirty(uintptr_t page) {
    auto after = copies_.upper_bound(page);
    if (after == copies_.begin()) return true;
    const auto &[start, copy] = *--after;
    if (page + kPage > start + copy.size()) return true;
    char now[kPage];
    read(page, now, kPage);
    return memcmp(now, copy.data() + (page - start), kPage) != 0;
  }

 private:
  static void read(uintptr_t from, void *to, size_t bytes) {
    const int memory = ::open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    EXPECT_GT(pread(memory, to, bytes, static_cast<off_t>(from)), 0);
    ::close(memory);
  }
  bool playing_ = false;
  std::map<uintptr_t, std::vector<char>> copies_;
} played;

// --- descriptors of this process ---

std::set<int> descriptors_of(const char *what) {
  std::set<int> found;
  for (int fd = 0; fd < 1024; ++fd) {
    std::error_code error;
    const auto target = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), error);
    if (!error && target.string().find(what) != std::string::npos) found.insert(fd);
  }
  return found;
}

class Memory {
 public:
  explicit Memory(size_t pages, int advice = MADV_NOHUGEPAGE) : pages_(pages) {
    mapping_ = static_cast<char *>(mmap(nullptr, pages * kPage + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    start_ = at_address<char>(align_up(address_of(mapping_), kHugePage));
    madvise(start_, pages * kPage, advice);
  }
  ~Memory() { munmap(mapping_, pages_ * kPage + kHugePage); }
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;

  char *page(size_t i) const { return start_ + i * kPage; }
  void store(size_t i) const {
    static uint64_t last = 0;  // no two stores the same, for who compares contents
    *reinterpret_cast<volatile uint64_t *>(page(i) + 8 * (i % 500)) = ++last;
  }
  void touch() const {
    for (size_t i = 0; i < pages_; ++i) store(i);
  }
  size_t pages() const { return pages_; }
  Range range() const { return {address_of(start_), address_of(start_) + pages_ * kPage}; }
  Range range(size_t from, size_t end) const { return {address_of(page(from)), address_of(page(end))}; }

 private:
  size_t pages_;
  char *mapping_;
  char *start_;
};

using Pages = std::set<size_t>;

struct Fetched {
  Pages pages;
  bool exact;
};

Fetched fetch(const Memory &memory, Range in, bool clear) {
  struct Visitor {
    const Memory &memory;
    Pages pages;
    uintptr_t last = 0;
  } visitor{memory, {}, 0};
  const auto visit = [](Range dirty, void *context) {
    auto *to = static_cast<Visitor *>(context);
    EXPECT_LT(dirty.start, dirty.end);
    EXPECT_GE(dirty.start, to->last) << "ascending";
    to->last = dirty.end;
    for (uintptr_t page = dirty.start; page < dirty.end; page += kPage) {
      to->pages.insert((page - to->memory.range().start) / kPage);
    }
  };
  const bool exact = mutation::for_each_dirty(in, clear, visit, &visitor);
  for (const size_t page : visitor.pages) {
    EXPECT_GE(page, (in.start - memory.range().start) / kPage);
    EXPECT_LT(page, (in.end - memory.range().start) / kPage);
  }
  return {visitor.pages, exact};
}
Fetched fetch(const Memory &memory, bool clear) { return fetch(memory, memory.range(), clear); }

bool watch(const Memory &memory) {
  const Range range = memory.range();
  return mutation::watch(&range, 1);
}

Pages all(size_t count) {
  Pages pages;
  for (size_t i = 0; i < count; ++i) pages.insert(pages.end(), i);
  return pages;
}

void start_afresh() {
  mutation::unwatch();
  mutation::reset_in_child();
  faults = {};
}

class Mutation : public ::testing::TestWithParam<Choice> {
 protected:
  void SetUp() override {
    start_afresh();
    played = {};
    const Mechanism wanted = static_cast<Mechanism>(GetParam());
    CapturedFd stderr_text;
    Mechanism got = mutation::set_up(GetParam());
    if (got != wanted && GetParam() == Choice::kSoftDirty) {
      start_afresh();
      played.play();
      got = mutation::set_up(GetParam());
    }
    if (got != wanted) GTEST_SKIP() << "not to be had here: " << stderr_text.text();
    clears_ = GetParam() != Choice::kSoftDirty;
  }
  void TearDown() override {
    start_afresh();
    played = {};
  }
  Mechanism set_up_quietly(std::string &text) {
    CapturedFd stderr_text;
    const Mechanism got = mutation::set_up(GetParam());
    text = stderr_text.text();
    return got;
  }
  // What a fetch is to find after one that cleared.
  Pages and_before(Pages pages, const Pages &before) const {
    if (!clears_) pages.insert(before.begin(), before.end());
    return pages;
  }
  bool clears_ = true;
};
using MutationDeathTest = Mutation;

std::string name_of(const ::testing::TestParamInfo<Choice> &info) {
  return mutation::name(static_cast<Mechanism>(info.param));
}
INSTANTIATE_TEST_SUITE_P(Each, Mutation, ::testing::Values(Choice::kUserfault, Choice::kSoftDirty, Choice::kProtect), name_of);

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
  asm volatile("lock cmpxchg16b %0" : "+m"(*reinterpret_cast<__int128 *>(slot)), "+a"(low), "+d"(high) : "b"(pair[0]), "c"(pair[1]) : "cc");
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
  ASSERT_NE(mmap(memory.page(20), 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), MAP_FAILED);
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

// What a concurrent marker does: it looks at every page once, then at dirty ones, and at last at those that are dirty when
// all threads stand still. What it saw last in each page must be what stands there.
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
        for (auto i = random() % 64; i-- > 0;) pages[random() % kPages].slot[t].store(++next, std::memory_order_relaxed);
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
  for (int cycle = 0; cycle < 150 && !HasFailure(); ++cycle) {
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

// --- descriptors ---

TEST_P(Mutation, DescriptorsAreOutOfTheWay) {
  for (const char *what : {"userfaultfd", "/pagemap", "/clear_refs"}) {
    for (const int fd : descriptors_of(what)) {
      EXPECT_GE(fd, 20) << what;
      EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC) << what;
    }
  }
  mutation::reset_in_child();
  for (const char *what : {"userfaultfd", "/pagemap", "/clear_refs"}) EXPECT_TRUE(descriptors_of(what).empty()) << what;
}

TEST_P(Mutation, ClosedDescriptorsAreMissedAndOpenedAnew) {
  const Memory memory(64);
  memory.touch();
  for (const auto &victims : {std::set<const char *>{"userfaultfd"}, {"/pagemap"}, {"userfaultfd", "/pagemap", "/clear_refs"}}) {
    ASSERT_TRUE(watch(memory));
    EXPECT_EQ(fetch(memory, true).pages, Pages{});
    bool any = false;
    for (const char *what : victims) {
      for (const int fd : descriptors_of(what)) any |= close(fd) == 0;
    }
    memory.store(9);
    EXPECT_TRUE(fetch(memory, false).pages.contains(9));
    memory.store(10);
    EXPECT_TRUE(fetch(memory, true).pages.contains(10));
    memory.store(11);
    EXPECT_TRUE(fetch(memory, false).pages.contains(11));
    ASSERT_TRUE(watch(memory)) << any;
    if (clears_) {
      EXPECT_EQ(fetch(memory, false).pages, Pages{});
    }
    memory.store(12);
    EXPECT_TRUE(fetch(memory, false).pages.contains(12));
    mutation::unwatch();
  }
  EXPECT_LE(descriptors_of("userfaultfd").size(), 1u);
  EXPECT_LE(descriptors_of("/pagemap").size(), 1u);
}

TEST_P(Mutation, ANumberThatTheProgramUsesByNowIsNotClosed) {
  const Memory memory(64);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  std::set<int> reused;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  for (const char *what : {"userfaultfd", "/pagemap", "/clear_refs"}) {
    for (const int fd : descriptors_of(what)) {
      ASSERT_EQ(dup2(ends[0], fd), fd);
      reused.insert(fd);
    }
  }
  memory.store(9);
  if (!reused.empty()) {
    EXPECT_TRUE(fetch(memory, true).pages.contains(9));
    mutation::unwatch();
    ASSERT_TRUE(watch(memory));
    memory.store(9);
    EXPECT_TRUE(fetch(memory, true).pages.contains(9));
  }
  mutation::reset_in_child();
  for (const int fd : reused) EXPECT_EQ(close(fd), 0) << "still the program's";
  close(ends[0]);
  close(ends[1]);
}

// --- failures ---

std::set<int> open_descriptors() {
  std::set<int> found;
  for (int fd = 0; fd < 1024; ++fd) {
    if (fcntl(fd, F_GETFD) != -1) found.insert(fd);
  }
  return found;
}

TEST_P(Mutation, EachFailingCallOfTheSetUpLeadsToStopping) {
  mutation::reset_in_child();
  const std::set<int> before = open_descriptors();
  const Memory memory(16);
  memory.touch();
  for (const bool all_after : {false, true}) {
    // A kernel that closes pages and opens none any more is not survived.
    if (all_after && GetParam() == Choice::kProtect) break;
    unsigned stopped = 0, number = 0;
    for (bool reached = true; reached && number < 200;) {
      start_afresh();
      faults.failing = ++number;
      faults.all_after = all_after;
      std::string text;
      const Mechanism got = set_up_quietly(text);
      reached = faults.calls >= number;
      faults = {};
      if (got == Mechanism::kNone) {
        ++stopped;
        EXPECT_NE(text.find(std::string("warren: gc_tracking=") + mutation::name(static_cast<Mechanism>(GetParam()))), std::string::npos);
        EXPECT_FALSE(watch(memory));
        EXPECT_EQ(fetch(memory, true).pages, all(16));
        if (GetParam() != Choice::kProtect) {
          EXPECT_EQ(open_descriptors(), before) << "call " << number;
        }
      } else {
        EXPECT_EQ(text, "");
        ASSERT_TRUE(watch(memory)) << "call " << number << " did not matter";
        memory.store(2);
        EXPECT_EQ(fetch(memory, true).pages, Pages{2});
      }
    }
    EXPECT_GT(stopped, 0u);
    EXPECT_LT(number, 200u) << "the set-up has an end";
  }
}

TEST_P(Mutation, FailingCallsOfACycleHideNoStore) {
  const Memory memory(32);
  for (const long error : {EPERM, EBADF, ENOMEM, EINVAL}) {
    for (const bool all_after : {false, true}) {
      bool reached = true;
      for (unsigned number = 1; reached && number < 200; ++number) {
        SCOPED_TRACE(testing::Message() << "call " << number << (all_after ? " and all after" : "") << " error " << error);
        start_afresh();
        ASSERT_EQ(mutation::set_up(GetParam()), static_cast<Mechanism>(GetParam()));
        memory.touch();
        faults.calls = 0;
        faults.failing = number;
        faults.all_after = all_after;
        faults.error = error;
        const bool watched = watch(memory);
        if (GetParam() == Choice::kProtect && all_after) faults.failing = 0;  // a store that cannot be opened ends the program
        for (size_t i = 0; watched && i < 3; ++i) {
          memory.store(i);
          EXPECT_TRUE(fetch(memory, true).pages.contains(i));
        }
        if (watched) {
          memory.store(9);
          EXPECT_TRUE(fetch(memory, false).pages.contains(9));
        }
        mutation::unwatch();
        reached = faults.calls >= number;
        faults = {};
        memory.touch();
        if (GetParam() != Choice::kProtect) {
          EXPECT_EQ(getrandom(memory.page(0), 256, 0), 256);
        }
      }
      EXPECT_FALSE(reached && !all_after);
    }
  }
}

TEST_P(Mutation, ASandboxThatComesUpEndsIt) {
  if (GetParam() == Choice::kProtect) GTEST_SKIP() << "its calls are every program's";
  const Memory memory(16);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  mutation::unwatch();
  faults.sandboxed = true;
  const unsigned long calls = faults.calls;
  EXPECT_FALSE(watch(memory));
  EXPECT_EQ(faults.calls, calls) << "no call that the sandbox may end the process for";
  EXPECT_EQ(mutation::mechanism(), Mechanism::kNone);
  EXPECT_EQ(fetch(memory, true).pages, all(16));
  faults.sandboxed = false;
  for (const char *what : {"userfaultfd", "/pagemap", "/clear_refs"}) {
    for (const int fd : descriptors_of(what)) close(fd);  // left open on purpose
  }
}

// --- the choice ---

class MutationChoice : public ::testing::Test {
 protected:
  void SetUp() override { start_afresh(); }
  void TearDown() override { start_afresh(); }
};

TEST_F(MutationChoice, AutomaticallyNeverProtects) {
  const Mechanism chosen = mutation::set_up(Choice::kAuto);
  EXPECT_NE(chosen, Mechanism::kProtect);
  EXPECT_EQ(mutation::mechanism(), chosen);
  EXPECT_EQ(mutation::set_up(Choice::kStop), chosen) << "once";
  start_afresh();
  faults.failing = 1;
  faults.all_after = true;
  CapturedFd stderr_text;
  EXPECT_EQ(mutation::set_up(Choice::kAuto), Mechanism::kNone);
  EXPECT_EQ(stderr_text.text(), "") << "nobody asked for a certain one";
}

TEST_F(MutationChoice, StoppingKnowsNothing) {
  EXPECT_EQ(mutation::set_up(Choice::kStop), Mechanism::kNone);
  const Memory memory(4);
  EXPECT_FALSE(watch(memory));
  EXPECT_FALSE(mutation::cover(memory.range()));
  EXPECT_EQ(fetch(memory, true).pages, all(4));
  mutation::unwatch();
}

TEST_F(MutationChoice, Names) {
  EXPECT_STREQ(mutation::name(Mechanism::kNone), "stop");
  EXPECT_STREQ(mutation::name(Mechanism::kUserfault), "userfault");
  EXPECT_STREQ(mutation::name(Mechanism::kSoftDirty), "soft_dirty");
  EXPECT_STREQ(mutation::name(Mechanism::kProtect), "mprotect");
}

// --- the handler of kProtect among a program's ---

class Protection : public MutationChoice {
 protected:
  static char *unreadable() {
    static char *page = static_cast<char *>(mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    return page;
  }
  static void install(void (*handler)(int, siginfo_t *, void *), int flags = 0) {
    struct sigaction action{};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    sigaction(SIGSEGV, &action, &before_);
  }
  static inline struct sigaction before_;
  static inline sigjmp_buf out_;
  static inline int calls_;
  static void leave(int, siginfo_t *information, void *) {
    ++calls_;
    if (information->si_addr == unreadable()) siglongjmp(out_, 1);
    _exit(9);
  }
  static void pass_back(int signal, siginfo_t *information, void *context) {
    ++calls_;
    before_.sa_sigaction(signal, information, context);
  }
  // Faults that are the program's and stores that are ours, in turns.
  static void mix(const Memory &memory) {
    calls_ = 0;
    for (int i = 0; i < 40; ++i) {
      memory.store(static_cast<size_t>(i));
      if (sigsetjmp(out_, 1) == 0) {
        *const_cast<volatile char *>(unreadable()) = 1;
        ADD_FAILURE() << "no fault";
      }
    }
    EXPECT_EQ(fetch(memory, true).pages, all(40));
  }
};
using ProtectionDeathTest = Protection;

TEST_F(Protection, AHandlerThatWasThereGetsTheRest) {
  in_own_process([] {
    install(leave);
    ASSERT_EQ(mutation::set_up(Choice::kProtect), Mechanism::kProtect);
    const Memory memory(64);
    ASSERT_TRUE(watch(memory));
    mix(memory);
    EXPECT_EQ(calls_, 40);
  });
}

TEST_F(Protection, AHandlerThatCameLaterGetsTheRestFromTheNextCycleOn) {
  in_own_process([] {
    ASSERT_EQ(mutation::set_up(Choice::kProtect), Mechanism::kProtect);
    install(leave);
    const Memory memory(64);
    ASSERT_TRUE(watch(memory));
    mix(memory);
    EXPECT_EQ(calls_, 40);
  });
}

TEST_F(Protection, AHandlerThatCallsOursDoesNotCallItself) {
  in_own_process([] {
    install(leave);
    ASSERT_EQ(mutation::set_up(Choice::kProtect), Mechanism::kProtect);
    install(pass_back);
    const Memory memory(64);
    memory.touch();
    ASSERT_TRUE(watch(memory));
    mix(memory);
    EXPECT_EQ(calls_, 80) << "each fault passes through both";
  });
}

TEST_F(Protection, AHandlerInFrontOfOursMayCallItDuringACycle) {
  in_own_process([] {
    ASSERT_EQ(mutation::set_up(Choice::kProtect), Mechanism::kProtect);
    const Memory memory(64);
    memory.touch();
    ASSERT_TRUE(watch(memory));
    install(pass_back);
    memory.store(3);
    EXPECT_EQ(fetch(memory, true).pages, Pages{3});
  });
}

TEST_F(ProtectionDeathTest, AFaultOfTheProgramsEndsIt) {
  mutation::set_up(Choice::kProtect);
  EXPECT_EXIT(*const_cast<volatile char *>(unreadable()) = 1, ::testing::KilledBySignal(SIGSEGV), "");
  EXPECT_EXIT(printf("%d", *const_cast<volatile char *>(unreadable())), ::testing::KilledBySignal(SIGSEGV), "");
  EXPECT_EXIT({ raise(SIGSEGV); _exit(0); }, ::testing::KilledBySignal(SIGSEGV), "");
}

TEST_F(Protection, AtTheLimitOfMappingsPagesAreOpenedTogether) {
  ASSERT_EQ(mutation::set_up(Choice::kProtect), Mechanism::kProtect);
  const Memory memory(256);
  memory.touch();
  ASSERT_TRUE(watch(memory));
  faults.least_protected = 8 * kPage;
  memory.store(100);
  const Pages pages = fetch(memory, false).pages;
  EXPECT_TRUE(pages.contains(100));
  EXPECT_GE(pages.size(), 8u);
  memory.store(3);
  EXPECT_TRUE(fetch(memory, true).pages.contains(3));
  faults.least_protected = ~size_t{0};
  memory.store(103) /* open, or opened by what is left */;
  faults.least_protected = 0;
  EXPECT_TRUE(fetch(memory, true).pages.contains(103));
}

}  // namespace
}  // namespace warren::gc

// The names ld --wrap makes of warren::os_calls' functions.
#define REAL(symbol) __real_##symbol
#define WRAP(symbol) __wrap_##symbol

using warren::gc::fault;
using warren::gc::faults;
using warren::gc::played;

extern "C" {
long REAL(_ZN6warren8os_calls11userfaultfdEi)(int);
long REAL(_ZN6warren8os_calls14duplicate_fromEii)(int, int);
long REAL(_ZN6warren8os_calls4openEPKci)(const char *, int);
long REAL(_ZN6warren8os_calls5ioctlEimPv)(int, unsigned long, void *);
long REAL(_ZN6warren8os_calls5writeEiPKvm)(int, const void *, size_t);
long REAL(_ZN6warren8os_calls7read_atEiPvmm)(int, void *, size_t, uint64_t);
long REAL(_ZN6warren8os_calls8mprotectEPvmi)(void *, size_t, int);

long WRAP(_ZN6warren8os_calls11userfaultfdEi)(int flags) {
  const long error = fault();
  return error != 0 ? error : REAL(_ZN6warren8os_calls11userfaultfdEi)(flags);
}
long WRAP(_ZN6warren8os_calls14duplicate_fromEii)(int fd, int least) {
  const long error = fault();
  return error != 0 ? error : REAL(_ZN6warren8os_calls14duplicate_fromEii)(fd, least);
}
long WRAP(_ZN6warren8os_calls4openEPKci)(const char *path, int flags) {
  const long error = fault();
  return error != 0 ? error : REAL(_ZN6warren8os_calls4openEPKci)(path, flags);
}
long WRAP(_ZN6warren8os_calls5ioctlEimPv)(int fd, unsigned long request, void *argument) {
  const long error = fault();
  return error != 0 ? error : REAL(_ZN6warren8os_calls5ioctlEimPv)(fd, request, argument);
}
long WRAP(_ZN6warren8os_calls5writeEiPKvm)(int fd, const void *data, size_t bytes) {
  if (fd <= STDERR_FILENO) return REAL(_ZN6warren8os_calls5writeEiPKvm)(fd, data, bytes);
  if (const long error = fault(); error != 0) return error;
  const long result = REAL(_ZN6warren8os_calls5writeEiPKvm)(fd, data, bytes);
  if (played.playing() && result == 1) played.clear();
  return result;
}
long WRAP(_ZN6warren8os_calls7read_atEiPvmm)(int fd, void *data, size_t bytes, uint64_t offset) {
  if (const long error = fault(); error != 0) return error;
  const long result = REAL(_ZN6warren8os_calls7read_atEiPvmm)(fd, data, bytes, offset);
  if (!played.playing() || result <= 0) return result;
  auto *entries = static_cast<uint64_t *>(data);
  constexpr uint64_t kBit = uint64_t{1} << 55;
  for (size_t i = 0; i < static_cast<size_t>(result) / 8 && offset != 0; ++i) {
    const bool dirty = played.dirty((offset / 8 + i) * warren::kOsPageSize);
    entries[i] = dirty ? entries[i] | kBit : entries[i] & ~kBit;
  }
  return result;
}
bool WRAP(_ZN6warren8os_calls8filteredEv)() { return faults.sandboxed; }
long WRAP(_ZN6warren8os_calls8mprotectEPvmi)(void *address, size_t bytes, int protection) {
  if (const long error = fault(); error != 0) return error;
  if (bytes < faults.least_protected) return -ENOMEM;
  return REAL(_ZN6warren8os_calls8mprotectEPvmi)(address, bytes, protection);
}
}
