// Coroutines (makecontext, swapcontext) that move between threads between malloc and free. Run by
// lifecycle_test.
// Invariant: the allocator reads its thread's state anew in every call, so that a stack which wakes up on
// another thread uses that thread's cache and never the one it went to sleep with.
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "victim.h"

namespace {

constexpr std::size_t kStackBytes = 64 * 1024;
constexpr int kCoroutines = 64;
constexpr int kThreads = 4;
constexpr std::size_t kBlocksHeld = 16;

struct Coroutine {
  ucontext_t context;
  ucontext_t *home = nullptr;  // the thread that runs it now
  std::atomic<bool> running{false};
  std::uint64_t number = 0;
  int rounds_left = 0;
  bool done = false;
  int moves = 0;
  pthread_t last_thread{};
};
Coroutine g_coroutines[kCoroutines];
std::atomic<int> g_unfinished{0};

// Opaque, so that a compiler cannot keep the thread's identity across a switch.
__attribute__((noinline)) void pause_here(Coroutine *self) { swapcontext(&self->context, self->home); }

void use_heap(Coroutine *self) {
  victim::Random random(self->number + victim::seed());
  void *held[kBlocksHeld] = {};
  while (self->rounds_left-- > 0) {
    void *&slot = held[random.below(kBlocksHeld)];
    if (slot != nullptr) victim::check_and_free(slot);
    slot = victim::make_cookie(random.block_size(), random.next());
    pause_here(self);
    if (random.below(4) == 0) {
      void *block = victim::resize(victim::take(random.below(2'000) + 1), 5'000);
      pause_here(self);
      victim::give_back(block);
    }
  }
  for (auto *block : held) {
    if (block != nullptr) victim::check_and_free(block);
    pause_here(self);
  }
}

void entry(unsigned low, unsigned high) {
  auto *self = reinterpret_cast<Coroutine *>((std::uintptr_t{high} << 32) | low);
  use_heap(self);
  self->done = true;
  g_unfinished.fetch_sub(1);
  pause_here(self);
  victim::fail("a finished coroutine stays away", __FILE__, __LINE__);
}

void *run_coroutines(void *raw) {
  ucontext_t home;
  for (auto turn = reinterpret_cast<std::uintptr_t>(raw); g_unfinished.load() > 0; ++turn) {
    Coroutine &c = g_coroutines[turn % kCoroutines];
    if (c.running.exchange(true, std::memory_order_acquire)) continue;
    if (!c.done) {
      if (pthread_equal(c.last_thread, pthread_self()) == 0) ++c.moves;
      c.last_thread = pthread_self();
      c.home = &home;
      swapcontext(&home, &c.context);
    }
    c.running.store(false, std::memory_order_release);
    if (turn % 16 == 0) sched_yield();
  }
  return nullptr;
}

void coroutines_change_threads() {
  auto *stacks = static_cast<char *>(mmap(nullptr, kStackBytes * kCoroutines, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  VICTIM_CHECK(stacks != MAP_FAILED);
  g_unfinished.store(kCoroutines);
  for (std::size_t i = 0; i < kCoroutines; ++i) {
    Coroutine &c = g_coroutines[i];
    c.number = i + 1;
    c.rounds_left = victim::scaled(3'000);
    VICTIM_CHECK(getcontext(&c.context) == 0);
    c.context.uc_stack.ss_sp = stacks + i * kStackBytes;
    c.context.uc_stack.ss_size = kStackBytes;
    c.context.uc_link = nullptr;
    const auto address = reinterpret_cast<std::uintptr_t>(&c);
    makecontext(&c.context, reinterpret_cast<void (*)()>(entry), 2, static_cast<unsigned>(address),
                static_cast<unsigned>(address >> 32));
  }
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i) {
    void *start = reinterpret_cast<void *>(static_cast<std::uintptr_t>(i) * (kCoroutines / kThreads));
    VICTIM_CHECK(pthread_create(&threads[i], nullptr, run_coroutines, start) == 0);
  }
  for (auto thread : threads) pthread_join(thread, nullptr);
  int moves = 0;
  for (const Coroutine &c : g_coroutines) moves += c.moves;
  std::printf("%d moves between threads\n", moves);
  VICTIM_CHECK(moves > 10 * kCoroutines);
}

constexpr victim::Scenario kScenarios[] = {
    {"coroutines_change_threads", coroutines_change_threads},
};

}  // namespace

int main(int argc, char **argv) { return victim::play(argc, argv, kScenarios); }
