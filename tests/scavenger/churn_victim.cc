// churn_victim: threads allocate, resize and free large blocks at random while free memory goes back as soon as it can.
// Run by scavenger_test.py with scavenge_delay=0, on the library and on the one whose madvise fails:
//   churn SECONDS SEED
// Invariant: a block holds its pattern from its allocation to its free, and calloc's are zero, whatever the scavenger
// does meanwhile, and the thread that trims, reads statistics and moves the limit.
#include "observe.h"

#include <pthread.h>

using namespace observe;

namespace {

constexpr size_t kThreads = 4;
constexpr size_t kHeld = 48;

double g_end;
uint64_t g_seed;
uint64_t g_operations[kThreads];

struct Block {
  unsigned char *at;
  size_t size;
  uint64_t seed;
};

size_t size_of(uint64_t random) {
  const uint64_t more = random >> 8;
  switch (random & 7) {
    case 0: return 16 + more % 3000;
    case 1: return 2 * kMiB + more % (2 * kMiB);
    case 2:
    case 3: return 300 * kKiB + more % (1000 * kKiB);
    default: return 30 * kKiB + more % (200 * kKiB);
  }
}

void check(const Block &block) {
  if (holds_pattern(block.at, block.size, block.seed)) return;
  BROKEN("a block of %zu bytes was written to by another", block.size);
}

void *churn_blocks(void *argument) {
  const auto number = reinterpret_cast<uintptr_t>(argument);
  uint64_t state = mix(g_seed + number);
  Block held[kHeld] = {};
  uint64_t operations = 0;
  for (; seconds() < g_end; ++operations) {
    state = mix(state);
    Block &block = held[state % kHeld];
    const uint64_t seed = mix(state ^ 1);
    const size_t size = size_of(state >> 8);
    if (block.at == nullptr || state % 16 != 0) {
      if (block.at != nullptr) check(block);
      v_free(block.at);
      const bool zeroed = state % 3 == 0;
      block = {static_cast<unsigned char *>(zeroed ? v_calloc(1, size) : v_malloc(size)), size, seed};
      REQUIRE(block.at != nullptr);
      if (zeroed && !all_zero(block.at, size)) BROKEN("calloc(1, %zu) is not zero", size);
    } else {
      check(block);
      auto *moved = static_cast<unsigned char *>(v_realloc(block.at, size));
      REQUIRE(moved != nullptr);
      block = {moved, size, seed};
    }
    fill_pattern(block.at, block.size, block.seed);
    // Now and then all at once, so that there is much to give back.
    if (operations % 400 == 399) {
      for (Block &each : held) {
        if (each.at != nullptr) check(each);
        v_free(each.at);
        each.at = nullptr;
      }
      pause_ms(static_cast<long>(state % 40));
    }
  }
  for (Block &block : held) {
    if (block.at != nullptr) check(block);
    v_free(block.at);
  }
  g_operations[number] = operations;
  return nullptr;
}

// Everything else that touches what lies free.
void disturb() {
  for (uint64_t i = 0; seconds() < g_end; ++i) {
    pause_ms(3);
    const wr_mem_stats now = statistics();
    REQUIRE(now.heap_released <= now.heap_idle);
    REQUIRE(now.heap_idle <= now.heap_sys);
    if (i % 37 == 5) v_trim(0);
    if (i % 50 == 10) configure("memlimit", "24MiB");
    if (i % 50 == 30) configure("memlimit", "off");
  }
}

void churn(int argc, char **argv) {
  REQUIRE(argc > 3);
  g_end = seconds() + strtod(argv[2], nullptr);
  g_seed = strtoull(argv[3], nullptr, 10);
  SAY("seed=%llu\n", static_cast<unsigned long long>(g_seed));
  pthread_t threads[kThreads];
  for (size_t i = 0; i < kThreads; ++i) {
    REQUIRE(pthread_create(&threads[i], nullptr, churn_blocks, reinterpret_cast<void *>(i)) == 0);
  }
  disturb();
  uint64_t operations = 0;
  for (size_t i = 0; i < kThreads; ++i) {
    pthread_join(threads[i], nullptr);
    operations += g_operations[i];
  }
  configure("memlimit", "off");
  Hoard hoard(400000, 100 * kMiB);
  hoard.free_all();
  use_heap(20 * kMiB);
  wait_until("the thread has ended", [] { return tasks() == 1; });
  const wr_mem_stats now = statistics();
  SAY("operations=%llu scavenged=%llu\n", static_cast<unsigned long long>(operations),
      static_cast<unsigned long long>(now.scavenged_bytes));
  REQUIRE(now.scavenged_bytes != 0);
}

constexpr Scenario kScenarios[] = {{"churn", churn}};

}  // namespace

int main(int argc, char **argv) { return play(argc, argv, kScenarios); }
