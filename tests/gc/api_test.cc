// The C functions and the C++ face of warren/gc.h, called as a program calls them.
// Invariant: what a test allocates it checks with the collector running: cycles go on beside most of them.
#include "tests/gc/herd.h"
#include "warren/allocator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <functional>
#include <list>
#include <map>
#include <pthread.h>
#include <random>
#include <sched.h>
#include <set>
#include <string>
#include <unistd.h>
#include <unordered_map>

namespace warren::gc_tests {
namespace {

using Bytes = unsigned char;
constexpr size_t kHeapPage = 8192;

bool is_zero(const void *memory, size_t size) {
  const auto *bytes = static_cast<const Bytes *>(memory);
  for (size_t i = 0; i < size; ++i) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

// Collects until it is destroyed.
class Collecting {
 public:
  Collecting() : thread_([this] {
    while (!over_.load()) wr_gc_collect();
  }) {}
  ~Collecting() {
    over_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> over_{false};
  std::thread thread_;
};

size_t promised_alignment(size_t size) { return size > 16 && size <= 24 ? 8 : 16; }

size_t promised_packed_alignment(size_t size) {
  if (size >= 16) return promised_alignment(size);
  return size % 8 == 0 ? 8 : size % 4 == 0 ? 4 : size % 2 == 0 ? 2 : 1;
}

void check_fresh(void *object, size_t size, size_t alignment) {
  ASSERT_NE(object, nullptr) << size;
  ASSERT_EQ(reinterpret_cast<uintptr_t>(object) % alignment, 0u) << size;
  ASSERT_TRUE(is_zero(object, size)) << size;
  ASSERT_TRUE(wr_gc_is_object(object)) << size;
  memset(object, 0xff, size);
}

// Twice: the second time most of it is memory that had other contents.
TEST(Allocate, EverySizeIsZeroedAndAligned) {
  for (int round = 0; round < 2; ++round) {
    for (size_t size = 0; size <= 40000; size += size < 4000 ? 1 : 7) {
      check_fresh(wr_gc_malloc(size), size, promised_alignment(size));
      check_fresh(wr_gc_malloc_noscan(size), size, promised_packed_alignment(size));
      if (HasFatalFailure()) return;
    }
    wr_gc_collect();
  }
}

TEST(Allocate, LargeSizes) {
  for (int round = 0; round < 2; ++round) {
    for (size_t size : {32767u, 32768u, 32769u, 65536u, 100'000u, 1u << 20, (1u << 20) + 1, 50u << 20}) {
      check_fresh(wr_gc_malloc(size), size, 16);
      check_fresh(wr_gc_malloc_noscan(size), size, 16);
      if (HasFatalFailure()) return;
    }
    wr_gc_collect();
  }
}

TEST(Allocate, ZeroedWhileTheCollectorRuns) {
  Collecting collecting;
  std::mt19937_64 random(1);
  for (int i = 0; i < 200'000; ++i) {
    const size_t size = random() % 600;
    check_fresh(i % 2 == 0 ? wr_gc_malloc(size) : wr_gc_malloc_noscan(size), size, 1);
    if (HasFatalFailure()) return;
  }
}

TEST(Allocate, ImpossibleSizesGiveNull) {
  for (size_t size : {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2, SIZE_MAX / 2 + 1, size_t{1} << 46}) {
    errno = 0;
    EXPECT_EQ(wr_gc_malloc(size), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    errno = 0;
    EXPECT_EQ(wr_gc_malloc_noscan(size), nullptr);
    EXPECT_EQ(errno, ENOMEM);
  }
}

TEST(Allocate, ObjectsOfNoBytesAreDistinct) {
  // Where the collector looks: one that nothing refers to may have its place taken by the next.
  std::set<void *, std::less<>, gc::allocator<void *>> seen;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(seen.insert(wr_gc_malloc(0)).second);
    EXPECT_TRUE(seen.insert(wr_gc_malloc_noscan(0)).second);
    EXPECT_TRUE(seen.insert(wr_gc_malloc_noscan(1)).second);
    if (i % 100 == 0) wr_gc_collect();
  }
}

TEST(Allocate, SmallNoscanObjectsArePacked) {
  constexpr size_t kCount = 160'000;
  std::vector<Bytes *, gc::allocator<Bytes *>> all;
  for (size_t i = 0; i < kCount; ++i) all.push_back(static_cast<Bytes *>(wr_gc_malloc_noscan(1)));
  std::set<uintptr_t> blocks;
  for (Bytes *object : all) blocks.insert(reinterpret_cast<uintptr_t>(object) / 16);
  EXPECT_LT(blocks.size(), kCount / 8);
}

TEST(Allocate, PackedObjectsDoNotOverlap) {
  Collecting collecting;
  struct Packed {
    Bytes *object;
    size_t size;
    Bytes value;
  };
  std::vector<Packed, gc::allocator<Packed>> all;
  std::mt19937_64 random(2);
  for (int i = 0; i < 50'000; ++i) {
    const size_t size = random() % 16;
    auto *object = static_cast<Bytes *>(wr_gc_malloc_noscan(size));
    ASSERT_TRUE(is_zero(object, size));
    const auto value = static_cast<Bytes>(random());
    memset(object, value, size);
    all.push_back({object, size, value});
  }
  for (const Packed &packed : all) {
    for (size_t i = 0; i < packed.size; ++i) ASSERT_EQ(packed.object[i], packed.value);
  }
}

TEST(Base, InteriorPointers) {
  for (size_t size : {1u, 16u, 24u, 48u, 127u, 128u, 1000u, 32767u, 40'000u, 3u << 20}) {
    auto *object = static_cast<Bytes *>(wr_gc_malloc(size));
    for (size_t offset : {size_t{0}, size / 3, size / 2, size - 1}) {
      EXPECT_TRUE(wr_gc_is_object(object + offset));
      EXPECT_EQ(wr_gc_base(object + offset), object) << size << " " << offset;
    }
  }
}

TEST(Base, OnePastTheEndOfArraysOf128BytesAndMore) {
  for (size_t size = 128; size < 70'000; size = size * 4 / 3) {
    for (int i = 0; i < 20; ++i) {
      auto *object = static_cast<Bytes *>(wr_gc_malloc(size));
      EXPECT_EQ(wr_gc_base(object + size), object) << size;
    }
  }
  for (size_t size : {kHeapPage * 8, kHeapPage * 5, size_t{1} << 20}) {
    auto *object = static_cast<Bytes *>(wr_gc_malloc(size));
    EXPECT_EQ(wr_gc_base(object + size), object) << size;
  }
}

TEST(Base, NoObjects) {
  int on_stack = 0;
  static int in_data = 0;
  void *of_malloc = malloc(100);
  void *large_of_malloc = malloc(1 << 20);
  for (const void *p : {static_cast<const void *>(nullptr), reinterpret_cast<const void *>(1), reinterpret_cast<const void *>(UINTPTR_MAX),
                        static_cast<const void *>(&on_stack), static_cast<const void *>(&in_data),
                        static_cast<const void *>(of_malloc), static_cast<const void *>(large_of_malloc),
                        reinterpret_cast<const void *>(&wr_gc_malloc)}) {
    EXPECT_FALSE(wr_gc_is_object(p));
    EXPECT_EQ(wr_gc_base(p), nullptr);
  }
  free(of_malloc);
  free(large_of_malloc);
}

// Any word at all may be asked about, and nothing but a NULL or a start at or below it is the answer.
TEST(Base, WildPointers) {
  std::mt19937_64 random(3);
  const auto near = reinterpret_cast<uintptr_t>(wr_gc_malloc(64));
  for (int i = 0; i < 1'000'000; ++i) {
    const uintptr_t word = i % 2 == 0 ? random() : near + (random() % (uintptr_t{1} << (i % 44))) - (uintptr_t{1} << (i % 44)) / 2;
    const void *base = wr_gc_base(reinterpret_cast<void *>(word));
    ASSERT_TRUE(base == nullptr || reinterpret_cast<uintptr_t>(base) <= word);
  }
}

TEST(Base, LiveObjectsAreObjectsAtEveryMoment) {
  Collecting collecting;
  std::vector<Bytes *, gc::allocator<Bytes *>> all;
  for (size_t i = 0; i < 20'000; ++i) all.push_back(static_cast<Bytes *>(wr_gc_malloc(16 + i % 300)));
  for (int round = 0; round < 30; ++round) {
    for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(wr_gc_base(all[i] + i % 16), all[i]);
  }
}

// While a cycle is under way an object may stay until it is over.
TEST(Free, AnObjectThatWasFreedIsNone) {
  wr_gc_free(nullptr);
  const int before = wr_gc_set_percent(-1);
  wr_gc_collect();
  for (size_t size : {24u, 100u, 5000u, 40'000u, 5u << 20}) {
    void *object = wr_gc_malloc(size);
    wr_gc_free(object);
    EXPECT_FALSE(wr_gc_is_object(object)) << size;
  }
  wr_gc_set_percent(before);
}

TEST(Free, MemoryIsUsedAgainWithoutACycle) {
  const int before = wr_gc_set_percent(-1);
  wr_gc_collect();
  std::set<void *> seen;
  for (int i = 0; i < 1'000'000; ++i) {
    void *object = wr_gc_malloc(64);
    ASSERT_TRUE(is_zero(object, 64));
    memset(object, 0xff, 64);
    if (seen.size() < 100'000) seen.insert(object);
    wr_gc_free(object);
  }
  EXPECT_LT(seen.size(), 10'000u);
  wr_gc_set_percent(before);
}

TEST(Realloc, EveryDirection) {
  Collecting collecting;
  std::mt19937_64 random(4);
  for (int i = 0; i < 3000; ++i) {
    size_t size = random() % 5000;
    const bool noscan = i % 2 == 0;
    if (noscan && size < 16) size += 16;  // their length is not known
    auto *object = static_cast<Bytes *>(noscan ? wr_gc_malloc_noscan(size) : wr_gc_malloc(size));
    const auto value = static_cast<Bytes>(i % 255 + 1);
    memset(object, value, size);
    for (int step = 0; step < 6; ++step) {
      size_t next = random() % (step == 3 ? 100'000 : 5000) + 16;
      object = static_cast<Bytes *>(wr_gc_realloc(object, next));
      ASSERT_NE(object, nullptr);
      const size_t kept = size < next ? size : next;
      for (size_t at = 0; at < kept; ++at) ASSERT_EQ(object[at], value) << size << " -> " << next << " at " << at;
      ASSERT_TRUE(is_zero(object + kept, next - kept)) << size << " -> " << next;
      memset(object, value, next);
      size = next;
    }
  }
}

TEST(Realloc, KeepsWhatTheObjectRefersTo) {
  Herd herd;
  void **array = static_cast<void **>(wr_gc_malloc(16));
  apart([&] {
    size_t room = 2;
    for (size_t i = 0; i < 5000; ++i) {
      if (i == room) array = static_cast<void **>(wr_gc_realloc(array, (room *= 2) * sizeof(void *)));
      array[i] = wr_gc_malloc(32);
      herd.watch(array[i]);
    }
  });
  wr_gc_collect();
  EXPECT_TRUE(herd.all_alive());
  memset(array, 0, 16);
}

TEST(Realloc, NullAndZero) {
  const int before = wr_gc_set_percent(-1);
  wr_gc_collect();
  void *object = wr_gc_realloc(nullptr, 50);
  EXPECT_TRUE(wr_gc_is_object(object));
  EXPECT_EQ(wr_gc_realloc(object, 0), nullptr);
  EXPECT_FALSE(wr_gc_is_object(object));
  object = wr_gc_malloc(100);
  memset(object, 1, 100);
  errno = 0;
  EXPECT_EQ(wr_gc_realloc(object, SIZE_MAX / 2), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  EXPECT_EQ(static_cast<Bytes *>(object)[99], 1);
  wr_gc_set_percent(before);
}

TEST(Percent, ReturnsTheValueBefore) {
  EXPECT_EQ(wr_gc_set_percent(50), 100);
  EXPECT_EQ(wr_gc_set_percent(-7), 50);
  EXPECT_EQ(wr_gc_set_percent(200), -1);
  EXPECT_EQ(gc::set_percent(100), 200);
  EXPECT_EQ(wr_gc_set_memory_limit(-1), INT64_MAX);
  EXPECT_EQ(wr_gc_set_memory_limit(int64_t{1} << 40), INT64_MAX);
  EXPECT_EQ(gc::set_memory_limit(INT64_MAX), int64_t{1} << 40);
  EXPECT_EQ(wr_gc_set_memory_limit(-1), INT64_MAX);
}

// As in Go, what is scanned of stacks counts as if it were live heap.
TEST(Percent, TheGoalGrowsWithStacks) {
  constexpr size_t kDeep = size_t{32} << 20;
  const auto goal = [] {
    wr_mem_stats stats;
    wr_read_mem_stats(&stats);
    return stats.next_gc;
  };
  wr_gc_collect();
  const uint64_t before = goal();
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 2 * kDeep);
  static std::atomic<int> step;
  step = 0;
  pthread_t thread;
  const int error = pthread_create(
      &thread, &attributes,
      [](void *) -> void * {
        char deep[kDeep];
        memset(deep, 1, sizeof deep);
        asm volatile("" : : "r"(deep) : "memory");
        step = 1;
        while (step == 1) usleep(1000);
        asm volatile("" : : "r"(deep) : "memory");
        return nullptr;
      },
      nullptr);
  pthread_attr_destroy(&attributes);
  ASSERT_EQ(error, 0);
  while (step == 0) sched_yield();
  wr_gc_collect();
  EXPECT_GT(goal(), before + kDeep / 2);
  step = 2;
  pthread_join(thread, nullptr);
  wr_gc_collect();
  EXPECT_LT(goal(), before + kDeep / 2);
}

TEST(Percent, OffMeansNoCycle) {
  const int before = wr_gc_set_percent(-1);
  wr_gc_collect();
  Herd herd;
  apart([&] { herd.watch_fresh(1000, 64); });
  for (int i = 0; i < 100'000; ++i) wr_gc_malloc_noscan(1000);
  EXPECT_TRUE(herd.all_alive());
  wr_gc_set_percent(before);
  wr_gc_collect();
  EXPECT_TRUE(herd.nearly_all_dead());
}

TEST(Percent, OnMeansThatGarbageGoesByItself) {
  Herd herd;
  apart([&] { herd.watch_fresh(1000, 64); });
  for (int i = 0; i < 200'000; ++i) wr_gc_malloc_noscan(1000);
  EXPECT_TRUE(herd.nearly_all_dead());
}

// --- C++ ---

std::atomic<int> destroyed{0};

// The heap stays near its goal though nothing slows the program down: no page is touched, and its thread has allocated
// nothing small.
TEST(Percent, LargeGarbageDoesNotOutrunTheCollector) {
  for (const bool limited : {false, true}) {
    const int before = wr_gc_set_percent(limited ? -1 : 100);
    const int64_t limit_before = wr_gc_set_memory_limit(limited ? int64_t{64} << 20 : INT64_MAX);
    uint64_t most = 0;
    apart([&] {
      for (const size_t size : {size_t{1} << 20, size_t{100'000}}) {
        for (size_t taken = 0; taken < size_t{1} << 29; taken += size) {
          ASSERT_NE(wr_gc_malloc(size), nullptr);
          wr_mem_stats stats;
          wr_read_mem_stats(&stats);
          if (stats.gc_live_bytes > most) most = stats.gc_live_bytes;
        }
      }
    });
    EXPECT_LT(most, uint64_t{192} << 20);
    wr_gc_set_percent(before);
    wr_gc_set_memory_limit(limit_before);
  }
}

// Everything is held, so what counts as live is never less than that: not either when it was taken after marking had ended and before
// the cycle had counted, which takes as long as there are objects with finalizers.
TEST(Statistics, WhatIsTakenWhileACycleEndsIsLive) {
  constexpr size_t kFinalizers = 200'000, kObjects = 30'000, kSize = 40'000, kSlack = size_t{256} << 10;
  const int before = wr_gc_set_percent(1'000'000);
  auto **watched = static_cast<void **>(wr_gc_malloc_rooted(kFinalizers * sizeof(void *)));
  auto **held = static_cast<void **>(wr_gc_malloc_rooted(kObjects * sizeof(void *)));
  for (size_t i = 0; i < kFinalizers; ++i) {
    watched[i] = wr_gc_malloc(16);
    wr_gc_set_finalizer(watched[i], [](void *, void *) {}, nullptr);
  }
  for (int i = 0; i < 3; ++i) wr_gc_collect();
  wr_mem_stats stats;
  wr_read_mem_stats(&stats);
  const uint64_t at_first = stats.gc_live_bytes;
  std::atomic<bool> over{false};
  std::thread collecting([&] {
    while (!over) wr_gc_collect();
  });
  uint64_t missing = 0, size = 0;  // bytes held that did not count
  for (size_t i = 0; i < kObjects; ++i) {
    held[i] = wr_gc_malloc_noscan(kSize);
    if (size == 0) size = wr_gc_size(held[i]);
    wr_read_mem_stats(&stats);
    const uint64_t wanted = at_first + (i + 1) * size;
    if (stats.gc_live_bytes < wanted && wanted - stats.gc_live_bytes > missing) missing = wanted - stats.gc_live_bytes;
  }
  over = true;
  collecting.join();
  EXPECT_LE(missing, kSlack);
  for (size_t i = 0; i < kFinalizers; ++i) wr_gc_set_finalizer(watched[i], nullptr, nullptr);
  wr_gc_free_rooted(watched);
  wr_gc_free_rooted(held);
  wr_gc_set_percent(before);
  wr_gc_collect();
}

struct Counted {
  explicit Counted(int number = 7) : value(number) {}
  ~Counted() { destroyed += value == 0 ? 1000 : 1; }
  int value;
  Counted *next = nullptr;
};

int wait_for_destroyed(int wanted) {
  for (int i = 0; i < 1000 && destroyed < wanted; ++i) {
    wr_gc_collect();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return destroyed;
}

TEST(Make, DestructorsRunOnce) {
  destroyed = 0;
  apart([] {
    for (int i = 0; i < 1000; ++i) gc::make<Counted>(i % 5 + 1);
  });
  EXPECT_GE(wait_for_destroyed(980), 980);
  for (int i = 0; i < 5; ++i) wr_gc_collect();
  EXPECT_LE(destroyed, 1000);
}

TEST(Make, ArraysHaveTheirElementsDestroyed) {
  destroyed = 0;
  apart([] {
    for (int i = 0; i < 100; ++i) {
      Counted *array = gc::make_array<Counted>(10);
      for (int k = 0; k < 10; ++k) EXPECT_EQ(array[k].value, 7);
    }
    EXPECT_NE(gc::make_array<Counted>(0), nullptr);
  });
  EXPECT_GE(wait_for_destroyed(950), 950);
  EXPECT_THROW((void)gc::make_array<Counted>(SIZE_MAX / 8), std::bad_alloc);
  EXPECT_THROW((void)gc::make_array<int>(size_t{1} << 45), std::bad_alloc);
}

struct alignas(16) Aligned {
  double values[3];
};

TEST(Make, KeepsWhatAConstructorMakesAndAligns) {
  Herd herd;
  Counted *list = nullptr;
  apart([&] {
    for (int i = 0; i < 10'000; ++i) {
      Counted *fresh = gc::make<Counted>(1);
      fresh->next = list;
      list = fresh;
      herd.watch(fresh);
    }
  });
  wr_gc_collect();
  EXPECT_TRUE(herd.all_alive());
  int count = 0;
  for (Counted *at = list; at != nullptr; at = at->next) ++count;
  EXPECT_EQ(count, 10'000);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(gc::make<Aligned>()) % 16, 0u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(gc::make_array<Aligned>(3)) % 16, 0u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(gc::make<double>(1.0)) % alignof(double), 0u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(gc::make<long double>(1.0l)) % alignof(long double), 0u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(gc::make_array<uint16_t>(3)) % 2, 0u);
  }
}

template <size_t alignment, class T>
void check_aligned(const T *object) {
  ASSERT_EQ(reinterpret_cast<uintptr_t>(object) % alignment, 0u);
}

TEST(Make, TypesOfLargerAlignment) {
  struct alignas(32) Numbers {
    double values[4];
  };
  struct alignas(64) Line {
    Line *next;
    char more[70];
  };
  struct alignas(4096) Page {
    char first;
  };
  for (size_t n = 1; n < 500; n += 7) {
    check_aligned<32>(gc::make<Numbers>());
    check_aligned<64>(gc::make<Line>());
    check_aligned<4096>(gc::make<Page>());
    check_aligned<32>(gc::make_array<Numbers>(n));
    check_aligned<64>(gc::make_array<Line>(n));
  }
  std::vector<Line, gc::allocator<Line>> lines(3);
  for (int i = 0; i < 1000; ++i) {
    lines.emplace_back();
    check_aligned<64>(lines.data());
  }
  std::list<Numbers, gc::allocator<Numbers>> list(100);
  for (const Numbers &each : list) check_aligned<32>(&each);
}

TEST(Allocate, Aligned) {
  for (size_t alignment = 1; alignment <= kHeapPage; alignment *= 2) {
    for (size_t size = 0; size < 70'000; size = size * 9 / 8 + 1) {
      for (const int noscan : {0, 1}) {
        auto *object = static_cast<Bytes *>(wr_gc_malloc_aligned(alignment, size, noscan));
        check_fresh(object, size, alignment);
        EXPECT_EQ(wr_gc_base(object), object);
        EXPECT_GE(wr_gc_size(object), size);
        memset(object, 0x5a, size);
      }
    }
    EXPECT_EQ(wr_gc_malloc_aligned(alignment, SIZE_MAX, 0), nullptr);
    EXPECT_EQ(errno, ENOMEM);
  }
  for (const size_t alignment : {size_t{0}, size_t{3}, size_t{24}, 2 * kHeapPage, SIZE_MAX}) {
    errno = 0;
    EXPECT_EQ(wr_gc_malloc_aligned(alignment, 16, 0), nullptr);
    EXPECT_EQ(errno, EINVAL);
  }
}

struct Fragile {
  Fragile() {
    if (made == 4) throw 4;
    ++made;
  }
  ~Fragile() { --made; }
  static inline int made = 0;
};

TEST(Make, AnArrayWhoseElementThrowsIsTakenBack) {
  EXPECT_THROW((void)gc::make_array<Fragile>(10), int);
  EXPECT_EQ(Fragile::made, 0);
  EXPECT_NE(gc::make_array<Fragile>(4), nullptr);
  EXPECT_EQ(Fragile::made, 4);
  for (int i = 0; i < 3; ++i) wr_gc_collect();  // nothing is destroyed twice
  EXPECT_TRUE(Fragile::made == 4 || Fragile::made == 0);
}

// Pointer-free and small: packed with others, each with a destructor of its own.
std::atomic<int> small_destroyed{0}, small_broken{0};
struct Small {
  explicit Small(uint8_t number) : value(number), check(static_cast<uint8_t>(~number)) {}
  ~Small() {
    if (static_cast<uint8_t>(~value) != check) ++small_broken;
    value = check = 0;
    ++small_destroyed;
  }
  uint8_t value, check;
};

}  // namespace
}  // namespace warren::gc_tests

template <>
struct warren::gc::is_noscan<warren::gc_tests::Small> : std::true_type {};

namespace warren::gc_tests {
namespace {

TEST(Make, PackedObjectsHaveDestructorsOfTheirOwn) {
  apart([] {
    for (int i = 0; i < 1600; ++i) gc::make<Small>(static_cast<uint8_t>(i));
  });
  for (int i = 0; i < 1000 && small_destroyed < 1500; ++i) {
    wr_gc_collect();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_GE(small_destroyed, 1500);
  EXPECT_EQ(small_broken, 0);
}

TEST(Containers, HoldTheirContentsWhileTheCollectorRuns) {
  Collecting collecting;
  using String = std::basic_string<char, std::char_traits<char>, gc::allocator<char>>;
  std::vector<int, gc::allocator<int>> vector;
  std::map<int, String, std::less<int>, gc::allocator<std::pair<const int, String>>> map;
  static_assert(gc::allocator<int>{} == gc::allocator<char>{});
  std::unordered_map<int, int, std::hash<int>, std::equal_to<int>, gc::allocator<std::pair<const int, int>>> table;
  std::list<int, gc::allocator<int>> list;
  const auto text = [](int i) { return String(static_cast<size_t>(i % 60), static_cast<char>('a' + i % 26)); };
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 10'000; ++i) {
      vector.push_back(i);
      map.emplace(i, text(i));
      table[i] = -i;
      list.push_back(i);
    }
    int at = 0;
    for (int value : list) ASSERT_EQ(value, at++);
    for (int i = 0; i < 10'000; ++i) {
      ASSERT_EQ(vector[static_cast<size_t>(i)], i);
      ASSERT_EQ(map.at(i), text(i));
      ASSERT_EQ(table.at(i), -i);
    }
    if (round % 2 == 0) {
      vector.clear();
      vector.shrink_to_fit();
    } else {
      decltype(vector)().swap(vector);
    }
    map.clear();
    table.clear();
    list.clear();
  }
}

TEST(Weak, OfCxx) {
  gc::weak<Counted> none, null(nullptr);
  EXPECT_FALSE(none);
  EXPECT_EQ(null.get(), nullptr);
  Counted *object = gc::make<Counted>(3);
  gc::weak<Counted> weak(object);
  EXPECT_EQ(weak.get(), object);
  EXPECT_EQ(weak.lock()->value, 3);
  gc::weak<int> member(&object->value);
  EXPECT_EQ(member.get(), &object->value);
  wr_gc_collect();
  EXPECT_EQ(weak.get(), object);
  weak.reset();
  EXPECT_FALSE(weak);
  object->value = 1;
}

TEST(Weak, ToPackedObjects) {
  for (int i = 0; i < 100; ++i) {
    Small *object = gc::make<Small>(static_cast<uint8_t>(i));
    const gc::weak<Small> weak(object);
    EXPECT_EQ(weak.get(), object);
  }
}

TEST(Collect, ReturnsAfterACycleThatBeganAfterTheCall) {
  for (int i = 0; i < 20; ++i) {
    Herd herd;
    apart([&] { herd.watch_fresh(1000, 48); });
    wr_gc_collect();
    EXPECT_TRUE(herd.nearly_all_dead()) << herd.alive();
  }
}

TEST(Collect, FromManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        void **object = static_cast<void **>(wr_gc_malloc(64));
        object[1] = wr_gc_malloc(64);
        static_cast<uint64_t *>(object[1])[2] = 77;
        wr_gc_collect();
        failures += static_cast<uint64_t *>(object[1])[2] != 77;
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace warren::gc_tests
