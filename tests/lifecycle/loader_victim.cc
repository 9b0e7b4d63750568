// Opens and closes libraries: with thread-local data, with RTLD_DEEPBIND, in namespaces of their own, and
// the allocator itself. Run by lifecycle_test, which passes the modules' paths in the environment.
// Invariant: the loader's own use of the heap leaks nothing, and no way of loading takes the heap away.
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "victim.h"

namespace {

constexpr int kWarmUpRounds = 300;

const char *path_in(const char *variable) {
  const char *path = getenv(variable);
  VICTIM_CHECK(path != nullptr);
  return path;
}

template <class F>
F *function_of(void *library, const char *name) {
  void *symbol = dlsym(library, name);
  VICTIM_CHECK(symbol != nullptr);
  return reinterpret_cast<F *>(symbol);
}

struct FlatLine {
  std::size_t kib = victim::resident_kib();
  int mappings = victim::mapping_count();
  void check() const {
    std::printf("resident %zu -> %zu KiB, mappings %d -> %d\n", kib, victim::resident_kib(), mappings,
                victim::mapping_count());
    std::fflush(stdout);
    VICTIM_CHECK(victim::resident_kib() <= kib + 2'048);
    VICTIM_CHECK(victim::mapping_count() <= mappings + 16);
  }
};

void *use_on_thread(void *raw) {
  const auto use = reinterpret_cast<int (*)()>(raw);
  VICTIM_CHECK(use() == 1);
  victim::exercise_heap(3, 1);
  return nullptr;
}

void open_use_close() {
  void *library = dlopen(path_in("TLS_MODULE"), RTLD_NOW);
  VICTIM_CHECK(library != nullptr);
  auto *use = function_of<int()>(library, "use_thread_data");
  VICTIM_CHECK(use() == 1);
  pthread_t thread;
  VICTIM_CHECK(pthread_create(&thread, nullptr, use_on_thread, reinterpret_cast<void *>(use)) == 0);
  pthread_join(thread, nullptr);
  VICTIM_CHECK(dlclose(library) == 0);
}
void thread_data_loop() {
  for (int i = 0; i < kWarmUpRounds; ++i) open_use_close();
  const FlatLine flat;
  for (int i = 0; i < victim::scaled(5'000); ++i) open_use_close();
  flat.check();
}

// Other threads allocate and exit while libraries come and go.
std::atomic<bool> g_stop{false};
void *keep_allocating(void *) {
  for (std::uint64_t i = 1; !g_stop.load(); ++i) victim::exercise_heap(20, i);
  return nullptr;
}
void thread_data_loop_under_load() {
  pthread_t threads[2];
  for (auto &thread : threads) VICTIM_CHECK(pthread_create(&thread, nullptr, keep_allocating, nullptr) == 0);
  for (int i = 0; i < victim::scaled(1'000); ++i) open_use_close();
  g_stop.store(true);
  for (auto thread : threads) pthread_join(thread, nullptr);
}

void deep_bound_library_keeps_to_itself() {
  void *library = dlopen(path_in("DEEPBIND_MODULE"), RTLD_NOW | RTLD_DEEPBIND);
  VICTIM_CHECK(library != nullptr);
  VICTIM_CHECK(function_of<int(int)>(library, "deep_work")(3'000) == 1);
  victim::exercise_heap(2'000, victim::seed());
  VICTIM_CHECK(dlclose(library) == 0);
}

// Blocks that cross the border. The driver accepts that they are freed, or refused as foreign.
void deep_bound_library_hands_over() {
  void *library = dlopen(path_in("DEEPBIND_MODULE"), RTLD_NOW | RTLD_DEEPBIND);
  VICTIM_CHECK(library != nullptr);
  auto *deep_malloc = function_of<void *(std::size_t)>(library, "deep_malloc");
  for (std::size_t size : {10U, 1'000U, 30'000U, 500'000U}) {
    auto *block = static_cast<char *>(deep_malloc(size));
    VICTIM_CHECK(block != nullptr);
    std::memset(block, 'x', size);
    victim::give_back(block);
  }
  victim::exercise_heap(2'000, victim::seed());
}

void second_namespace() {
  void *libc = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
  if (libc == nullptr) victim::skip("no second namespace");
  auto *other_malloc = function_of<void *(std::size_t)>(libc, "malloc");
  auto *other_free = function_of<void(void *)>(libc, "free");
  for (int i = 0; i < 2'000; ++i) {
    void *theirs = other_malloc(static_cast<std::size_t>(i) * 13 + 1);
    VICTIM_CHECK(theirs != nullptr);
    victim::exercise_heap(2, static_cast<std::uint64_t>(i) + 1);
    other_free(theirs);
  }
}

void closing_the_allocator_is_a_no_op() {
  const char *path = getenv("WARREN_LIB");
  if (path == nullptr || path[0] == 0) victim::skip("no library");
  void *kept = victim::make_cookie(5'000, 3);
  for (int i = 0; i < 5; ++i) {
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    VICTIM_CHECK(library != nullptr);
    dlclose(library);
    dlclose(library);  // more often than it was opened
    victim::exercise_heap(200, static_cast<std::uint64_t>(i) + 1);
  }
  VICTIM_CHECK(dlopen(path, RTLD_NOW | RTLD_NOLOAD) != nullptr);
  victim::check_and_free(kept);
}

// Not preloaded, but opened by a running program: a clear refusal, or a second heap that works and can be
// closed (which must leave its code in place).
void opened_late() {
  const char *path = getenv("WARREN_LIB");
  if (path == nullptr || path[0] == 0) victim::skip("no library");
  void *kept = victim::make_cookie(5'000, 3);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char *why = dlerror();
    VICTIM_CHECK(why != nullptr);
    std::printf("refused: %s\n", why);
  } else {
    auto *its_malloc = function_of<void *(std::size_t)>(library, "malloc");
    auto *its_free = function_of<void(void *)>(library, "free");
    void *blocks[200];
    for (std::size_t i = 0; i < 200; ++i) {
      blocks[i] = its_malloc(i * 211);
      VICTIM_CHECK(blocks[i] != nullptr);
      std::memset(blocks[i], 'l', i * 211);
    }
    victim::exercise_heap(1'000, 1);
    for (auto *block : blocks) its_free(block);
    const auto body = [](void *raw) -> void * {
      victim::exercise_heap(100, 1);
      return raw;
    };
    pthread_t thread;
    VICTIM_CHECK(pthread_create(&thread, nullptr, body, nullptr) == 0);
    pthread_join(thread, nullptr);
    dlclose(library);
  }
  victim::exercise_heap(1'000, 2);
  victim::check_and_free(kept);
}

void plain_work() {
  pthread_t threads[3];
  for (auto &thread : threads) {
    const auto body = [](void *raw) -> void * {
      victim::exercise_heap(3'000, 5);
      return raw;
    };
    VICTIM_CHECK(pthread_create(&thread, nullptr, body, nullptr) == 0);
  }
  victim::exercise_heap(3'000, victim::seed());
  for (auto thread : threads) pthread_join(thread, nullptr);
}

constexpr victim::Scenario kScenarios[] = {
    {"thread_data_loop", thread_data_loop},
    {"thread_data_loop_under_load", thread_data_loop_under_load},
    {"deep_bound_library_keeps_to_itself", deep_bound_library_keeps_to_itself},
    {"deep_bound_library_hands_over", deep_bound_library_hands_over},
    {"second_namespace", second_namespace},
    {"closing_the_allocator_is_a_no_op", closing_the_allocator_is_a_no_op},
    {"opened_late", opened_late},
    {"plain_work", plain_work},
};

}  // namespace

int main(int argc, char **argv) { return victim::play(argc, argv, kScenarios); }
