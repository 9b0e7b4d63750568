// The names of Boehm's collector, called as its programs call them. Linked with libwarren-gc.so.1.
// Invariant: nothing here is declared by this project's headers, but for the check that it is this collector which serves.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <thread>

extern "C" {
void GC_init();
void *GC_malloc(size_t);
void *GC_malloc_atomic(size_t);
void *GC_malloc_uncollectable(size_t);
void *GC_malloc_many(size_t);
void *GC_realloc(void *, size_t);
void GC_free(void *);
char *GC_strdup(const char *);
char *GC_strndup(const char *, size_t);
int GC_posix_memalign(void **, size_t, size_t);
void *GC_base(void *);
size_t GC_size(const void *);
int GC_is_heap_ptr(const void *);
void GC_gcollect();
void GC_disable();
void GC_enable();
unsigned long GC_get_gc_no();
size_t GC_get_heap_size();
void GC_add_roots(void *, void *);
void GC_remove_roots(void *, void *);
void GC_register_finalizer_no_order(void *, void (*)(void *, void *), void *, void (**)(void *, void *), void **);
void GC_set_oom_fn(void *(*)(size_t));
void *GC_call_with_alloc_lock(void *(*)(void *), void *);
int GC_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int GC_pthread_join(pthread_t, void **);
extern int GC_all_interior_pointers;
}

namespace {

struct Cell {
  Cell *next;
  uint64_t number;
};

Cell *make_list(size_t length) {
  Cell *first = nullptr;
  for (size_t i = length; i-- != 0;) {
    auto *cell = static_cast<Cell *>(GC_malloc(sizeof(Cell)));
    *cell = {first, i};
    first = cell;
  }
  return first;
}

bool is_whole(const Cell *list, size_t length) {
  size_t seen = 0;
  for (; list != nullptr; list = list->next) {
    if (list->number != seen++) return false;
  }
  return seen == length;
}

TEST(Boehm, ItIsThisCollector) {
  GC_init();
  EXPECT_NE(dlsym(RTLD_DEFAULT, "wr_gc_collect"), nullptr);
  EXPECT_EQ(GC_all_interior_pointers, 1);
}

TEST(Boehm, ObjectsAreZeroAlignedAndWhole) {
  for (size_t size = 0; size < 3000; size += 7) {
    auto *object = static_cast<char *>(GC_malloc(size));
    ASSERT_EQ(reinterpret_cast<uintptr_t>(object) % 16, 0U);
    for (size_t i = 0; i < size; ++i) ASSERT_EQ(object[i], 0);
    ASSERT_GE(GC_size(object), size);
    ASSERT_EQ(GC_base(object + size / 2), object);
    ASSERT_EQ(reinterpret_cast<uintptr_t>(GC_malloc_atomic(size)) % 16, 0U);
  }
  int local = 0;
  EXPECT_EQ(GC_base(&local), nullptr);
  EXPECT_FALSE(GC_is_heap_ptr(&local));
}

TEST(Boehm, ListsLiveThroughCollections) {
  Cell *list = make_list(10'000);
  const unsigned long before = GC_get_gc_no();
  GC_gcollect();
  EXPECT_GT(GC_get_gc_no(), before);
  EXPECT_TRUE(is_whole(list, 10'000));
  EXPECT_GT(GC_get_heap_size(), 160'000U);
}

TEST(Boehm, TextsAndAlignedMemory) {
  EXPECT_STREQ(GC_strdup("some text"), "some text");
  EXPECT_STREQ(GC_strndup("some text", 4), "some");
  EXPECT_EQ(GC_strdup(nullptr), nullptr);
  void *page = nullptr;
  ASSERT_EQ(GC_posix_memalign(&page, 1024, 5000), 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(page) % 1024, 0U);
  EXPECT_EQ(GC_posix_memalign(&page, 24, 10), EINVAL);
  size_t count = 0;
  for (void *at = GC_malloc_many(40); at != nullptr; memcpy(&at, at, sizeof at)) ++count;
  EXPECT_GT(count, 0U);
}

TEST(Boehm, ReallocAndFree) {
  auto *text = static_cast<char *>(GC_malloc_atomic(10));
  strcpy(text, "123456789");
  text = static_cast<char *>(GC_realloc(text, 100'000));
  EXPECT_STREQ(text, "123456789");
  text = static_cast<char *>(GC_realloc(text, 5));
  EXPECT_EQ(memcmp(text, "12345", 5), 0);
  GC_free(text);
  GC_free(nullptr);
}

// Malloc's memory is no root; this is.
TEST(Boehm, UncollectableBlocksHoldWhatTheyReferTo) {
  auto **malloced = static_cast<Cell ***>(malloc(sizeof(Cell **)));
  std::thread([&] {
    *malloced = static_cast<Cell **>(GC_malloc_uncollectable(100 * sizeof(Cell *)));
    for (int i = 0; i < 100; ++i) (*malloced)[i] = make_list(100);
  }).join();
  GC_gcollect();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(is_whole((*malloced)[i], 100));
  EXPECT_GE(GC_size(*malloced), 100 * sizeof(Cell *));
  *malloced = static_cast<Cell **>(GC_realloc(*malloced, 1000 * sizeof(Cell *)));
  GC_gcollect();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(is_whole((*malloced)[i], 100));
  GC_free(*malloced);
  free(malloced);
}

TEST(Boehm, RootsThatAreAdded) {
  auto *words = static_cast<Cell **>(malloc(16 * sizeof(Cell *)));
  GC_add_roots(words, words + 16);
  std::thread([&] {
    for (int i = 0; i < 16; ++i) words[i] = make_list(100);
  }).join();
  GC_gcollect();
  for (int i = 0; i < 16; ++i) EXPECT_TRUE(is_whole(words[i], 100));
  GC_remove_roots(words, words + 16);
  free(words);
}

std::atomic<int> finalized{0};
int first_data, second_data;
void count_first(void *, void *data) { finalized += data == &first_data ? 1 : 1000; }
void count_second(void *, void *data) { finalized += data == &second_data ? 1 : 1000; }

TEST(Boehm, FinalizersAreReplacedReportedAndRunOnce) {
  std::thread([] {
    for (int i = 0; i < 500; ++i) {
      void *object = GC_malloc(48);
      void (*old)(void *, void *) = count_second;
      void *old_data = &old;
      GC_register_finalizer_no_order(object, count_first, &first_data, &old, &old_data);
      EXPECT_TRUE(old == nullptr && old_data == nullptr);
      if (i % 5 == 0) GC_register_finalizer_no_order(object, count_second, &second_data, &old, &old_data);
      if (i % 5 == 1) GC_register_finalizer_no_order(object, nullptr, nullptr, &old, &old_data);
      EXPECT_EQ(old != nullptr, i % 5 < 2);
      EXPECT_EQ(old_data == &first_data, i % 5 < 2);
      if (i % 5 == 2) GC_free(object);
    }
  }).join();
  while (finalized < 280) {  // of 300; some may be held by accident
    GC_gcollect();
    sched_yield();
  }
  EXPECT_LE(finalized, 300);
}

TEST(Boehm, TurnedOffAndOn) {
  GC_disable();
  GC_disable();
  const unsigned long before = GC_get_gc_no();
  for (int i = 0; i < 300'000; ++i) GC_malloc(100);
  GC_gcollect();
  GC_enable();
  EXPECT_LE(GC_get_gc_no(), before + 1);  // one may have been under way
  GC_enable();
  GC_gcollect();
  EXPECT_GT(GC_get_gc_no(), before);
}

TEST(Boehm, OutOfMemory) {
  static int spare;
  GC_set_oom_fn([](size_t) -> void * { return &spare; });
  EXPECT_EQ(GC_malloc(SIZE_MAX / 2), &spare);
  EXPECT_EQ(GC_malloc_uncollectable(SIZE_MAX - 8), &spare);
  GC_set_oom_fn(nullptr);
  void *(*volatile take)(size_t) = GC_malloc;
  EXPECT_EQ(take(SIZE_MAX), nullptr);
}

TEST(Boehm, Threads) {
  pthread_t thread;
  ASSERT_EQ(GC_pthread_create(&thread, nullptr, [](void *) -> void * { return make_list(1000); }, nullptr), 0);
  void *result = nullptr;
  ASSERT_EQ(GC_pthread_join(thread, &result), 0);
  EXPECT_TRUE(is_whole(static_cast<Cell *>(result), 1000));
  EXPECT_EQ(GC_call_with_alloc_lock([](void *argument) { return GC_call_with_alloc_lock([](void *inner) { return inner; }, argument); },
                                    &thread),
            &thread);
}

}  // namespace
