// Threads that come and go by the thousand and use the heap in their last moments. Run by lifecycle_test.
// Invariant: a thread that ended leaves nothing behind: memory and mappings stay flat over 100,000 of them.
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "victim.h"

namespace {

using Body = void *(*)(void *);

pthread_t start(Body body, void *argument = nullptr) {
  pthread_t thread;
  const int error = pthread_create(&thread, nullptr, body, argument);
  errno = error;
  VICTIM_CHECK(error == 0);
  return thread;
}

void run_waves(int threads, int at_a_time, Body body) {
  std::vector<pthread_t> wave(static_cast<std::size_t>(at_a_time));
  for (int done = 0; done < threads; done += at_a_time) {
    for (auto &thread : wave) thread = start(body);
    for (auto &thread : wave) pthread_join(thread, nullptr);
  }
}

// Fails when memory or mappings grew between an early point and the end.
class FlatLine {
 public:
  FlatLine() : kib_(victim::resident_kib()), mappings_(victim::mapping_count()) {}
  void check(std::size_t kib_allowed) const {
    const std::size_t kib = victim::resident_kib();
    const int mappings = victim::mapping_count();
    std::printf("resident %zu -> %zu KiB, mappings %d -> %d\n", kib_, kib, mappings_, mappings);
    std::fflush(stdout);
    VICTIM_CHECK(kib <= kib_ + kib_allowed);
    VICTIM_CHECK(mappings <= mappings_ + 32);
  }

 private:
  std::size_t kib_;
  int mappings_;
};

void *use_a_little(void *) {
  void *blocks[8];
  for (std::size_t i = 0; i < 8; ++i) {
    blocks[i] = victim::take(std::size_t{16} << i);
    VICTIM_CHECK(blocks[i] != nullptr);
  }
  for (auto *block : blocks) victim::give_back(block);
  return nullptr;
}

void waves_of_threads() {
  const int total = victim::scaled(100'000);
  run_waves(10'000, 2, use_a_little);
  const FlatLine flat;
  run_waves(total - 10'000, 2, use_a_little);
  flat.check(2'048);
}

// Only frees: blocks come from main, and the freeing threads end at once. Nothing may be hoarded.
void waves_of_freeing_threads() {
  const auto wave = [](int threads) {
    for (int i = 0; i < threads; ++i) {
      auto **list = static_cast<void **>(victim::take(200 * sizeof(void *)));
      for (int k = 0; k < 200; ++k) list[k] = victim::make_cookie(1'000, static_cast<std::uint64_t>(k));
      const auto free_all = [](void *raw) -> void * {
        auto **blocks = static_cast<void **>(raw);
        for (int k = 0; k < 200; ++k) victim::check_and_free(blocks[k]);
        victim::give_back(raw);
        return nullptr;
      };
      pthread_join(start(free_all, list), nullptr);
    }
  };
  wave(500);
  const FlatLine flat;
  wave(victim::scaled(10'000));
  flat.check(2'048);
}

// The last moments of a thread: C++ thread_locals, keys that re-arm themselves through all four rounds of
// destructors, and buffers the C library frees after all of them.
pthread_key_t g_key;
std::atomic<int> g_key_rounds{0};
thread_local int t_round = 0;

void rearm(void *block) {
  victim::check_and_free(block);
  g_key_rounds.fetch_add(1);
  if (++t_round < PTHREAD_DESTRUCTOR_ITERATIONS) {
    pthread_setspecific(g_key, victim::make_cookie(static_cast<std::size_t>(t_round) * 500, 9));
  }
  victim::exercise_heap(5, static_cast<std::uint64_t>(t_round) + 1);
}

void *die_busily(void *raw) {
  struct LastWords {
    std::vector<std::string> words;
    ~LastWords() {
      words.emplace_back(3'000, 'w');
      victim::exercise_heap(5, 4);
    }
  };
  static thread_local LastWords last;
  last.words.emplace_back(100, 'x');
  pthread_setspecific(g_key, victim::make_cookie(100, 1));
  if (dlopen("no-such-library.so", RTLD_NOW) == nullptr && dlerror() == nullptr) return raw;
  dlopen("no-other-library.so", RTLD_NOW);       // its message stays with the thread
  return std::strlen(strerror(98'765)) == 0 ? raw : nullptr;  // so does this one
}

void busy_last_moments() {
  VICTIM_CHECK(pthread_key_create(&g_key, rearm) == 0);
  run_waves(1'000, 2, die_busily);
  const FlatLine flat;
  const int more = victim::scaled(10'000);
  run_waves(more, 2, die_busily);
  VICTIM_CHECK(g_key_rounds.load() == (1'000 + more) * PTHREAD_DESTRUCTOR_ITERATIONS);
  flat.check(2'048);
}

// First use of the heap by a thread is inside a key destructor: it had no cache while it lived.
void first_use_in_destructor() {
  VICTIM_CHECK(pthread_key_create(&g_key, [](void *) { victim::exercise_heap(20, 5); }) == 0);
  const auto body = [](void *raw) -> void * {
    pthread_setspecific(g_key, &g_key);
    return raw;
  };
  run_waves(1'000, 2, body);
  const FlatLine flat;
  run_waves(victim::scaled(5'000), 2, body);
  flat.check(2'048);
}

// Thousands at once, all alive and holding blocks, on small stacks.
std::atomic<int> g_waiting{0};
pthread_mutex_t g_gate = PTHREAD_MUTEX_INITIALIZER;

void *hold_blocks(void *raw) {
  const auto number = reinterpret_cast<std::uintptr_t>(raw);
  void *blocks[10];
  for (std::size_t i = 0; i < 10; ++i) blocks[i] = victim::make_cookie(i * 300, number * 100 + i);
  g_waiting.fetch_add(1);
  pthread_mutex_lock(&g_gate);
  pthread_mutex_unlock(&g_gate);
  for (auto *block : blocks) victim::check_and_free(block);
  return nullptr;
}

void crowd_once(int wanted) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 64 << 10);
  std::vector<pthread_t> crowd;
  pthread_mutex_lock(&g_gate);
  for (int i = 0; i < wanted; ++i) {
    pthread_t thread;
    void *number = reinterpret_cast<void *>(static_cast<std::uintptr_t>(i));
    if (pthread_create(&thread, &attributes, hold_blocks, number) != 0) break;  // the machine's limit
    crowd.push_back(thread);
  }
  VICTIM_CHECK(crowd.size() >= 100);
  while (g_waiting.load() < static_cast<int>(crowd.size())) sched_yield();
  pthread_mutex_unlock(&g_gate);
  for (auto thread : crowd) pthread_join(thread, nullptr);
  g_waiting.store(0);
}

// What is resident after a crowd has gone lies anywhere between 50 and 170 MiB: which pages it has touched, which stacks libc keeps, what
// has been given back by then. So the least of the later crowds must not lie above the most of the first, but for some more.
void thousands_at_once() {
  const auto after_crowd = [] {
    crowd_once(2'000);
    return victim::resident_kib();
  };
  std::size_t most = 0, least = ~std::size_t{0};
  for (int i = 0; i < 4; ++i) most = std::max(most, after_crowd());
  const int mappings = victim::mapping_count();
  for (int i = 0; i < victim::scaled(4); ++i) least = std::min(least, after_crowd());
  std::printf("resident at most %zu, then at least %zu KiB\n", most, least);
  std::fflush(stdout);
  VICTIM_CHECK(least <= most + most / 5 + 16'384);
  VICTIM_CHECK(victim::mapping_count() <= mappings + 32);
}

// Cancellation at cancellation points, between calls of the heap. (Asynchronous cancellation inside malloc
// leaves a lock held with every malloc tried, glibc's included; POSIX forbids it.)
void *allocate_until_cancelled(void *raw) {
  auto *ready = static_cast<std::atomic<int> *>(raw);
  pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, nullptr);
  for (std::uint64_t i = 1;; ++i) {
    victim::exercise_heap(3, i);
    ready->store(1);
    pthread_testcancel();
  }
}
void deferred_cancel() {
  const int rounds = victim::scaled(2'000);
  for (int i = 0; i < rounds; ++i) {
    std::atomic<int> ready{0};
    const pthread_t thread = start(allocate_until_cancelled, &ready);
    while (ready.load() == 0) sched_yield();
    victim::exercise_heap(3, static_cast<std::uint64_t>(i) + 1);
    pthread_cancel(thread);
    void *result = nullptr;
    pthread_join(thread, &result);
    VICTIM_CHECK(result == PTHREAD_CANCELED);
  }
}

constexpr victim::Scenario kScenarios[] = {
    {"waves_of_threads", waves_of_threads},
    {"waves_of_freeing_threads", waves_of_freeing_threads},
    {"busy_last_moments", busy_last_moments},
    {"first_use_in_destructor", first_use_in_destructor},
    {"thousands_at_once", thousands_at_once},
    {"deferred_cancel", deferred_cancel},
};

}  // namespace

int main(int argc, char **argv) { return victim::play(argc, argv, kScenarios); }
