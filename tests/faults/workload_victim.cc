// workload_victim: one fixed mixed workload (small to huge malloc, calloc over dirty memory,
// realloc growth, alignments, threads with cross-thread frees, fork, malloc_trim) that takes NULL
// as a legal answer everywhere, goes on, and checks every byte it was promised. Run by
// syscall_fault_test, strace_fault_test, sandbox_test and layout_test under faults.
// Prints "main" first, then after each cycle "cycle rss=KiB vsize=KiB", last
// "checksum=HEX nulls=N mid=KiB". Invariant: the checksum is a function of which requests
// succeeded, never of addresses, so two runs without NULLs print the same one.
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "syscall_filter.h"
#include "victim.h"

namespace {

using namespace victim;

struct Block {
  void *at = nullptr;
  size_t size = 0;
  uint64_t seed = 0;
};

unsigned g_nulls = 0;      // guarded by: atomic access
uint64_t g_checksum = 0;   // main thread only
bool g_use_threads = true;
bool g_use_fork = true;
size_t g_scale = 1;

struct Random {
  uint64_t state;
  uint64_t next() { return mix(state++); }
  size_t between(size_t low, size_t high) { return low + next() % (high - low + 1); }
};

void count_null() {
  if (errno != ENOMEM) BROKEN("NULL with errno %d instead of ENOMEM", errno);
  __atomic_fetch_add(&g_nulls, 1, __ATOMIC_RELAXED);
}

// Gives the block its pattern; a NULL is only counted.
Block take(void *at, size_t size, uint64_t seed) {
  if (at == nullptr) {
    count_null();
    return {};
  }
  if (reinterpret_cast<uintptr_t>(at) % (size <= 8 ? 8 : 16) != 0) BROKEN("misaligned block %p of %zu", at, size);
  fill_pattern(at, size, seed);
  return {at, size, seed};
}

Block take_malloc(size_t size, uint64_t seed) { errno = 0; return take(v_malloc(size), size, seed); }

Block take_calloc(size_t size, uint64_t seed) {
  errno = 0;
  void *at = v_calloc(1, size);
  if (at != nullptr && !all_zero(at, size)) BROKEN("calloc(1, %zu) = %p is not zero", size, at);
  return take(at, size, seed);
}

// Checks the bytes and frees; returns what the block adds to the checksum.
uint64_t give(Block &block) {
  if (block.at == nullptr) return 0;
  if (!holds_pattern(block.at, block.size, block.seed)) BROKEN("block %p of %zu lost its bytes", block.at, block.size);
  free_keeping_errno(block.at);
  const uint64_t share = mix(block.size ^ block.seed);
  block = {};
  return share;
}

constexpr size_t kTable = 4096;
Block g_table[kTable];

void small_and_medium(Random &random) {
  for (size_t i = 0; i < 3000; ++i) g_table[i] = take_malloc(random.between(1, 1024), random.next());
  for (size_t i = 0; i < 3000; i += 2) g_checksum += give(g_table[i]);
  for (size_t i = 0; i < 3000; i += 2) g_table[i] = take_calloc(random.between(1, 1024), random.next());
  for (size_t i = 3000; i < 3200; ++i) g_table[i] = take_malloc(random.between(1025, 32 * kKiB), random.next());
  for (size_t i = 3000; i < 3200; i += 3) g_checksum += give(g_table[i]);
  for (size_t i = 3000; i < 3200; i += 3) g_table[i] = take_calloc(random.between(1025, 32 * kKiB), random.next());
}

void large_and_huge(Random &random) {
  for (size_t i = 3200; i < 3220; ++i) g_table[i] = take_malloc(random.between(33 * kKiB, 300 * kKiB), random.next());
  for (size_t i = 3200; i < 3220; i += 2) g_checksum += give(g_table[i]);
  for (size_t i = 3200; i < 3220; i += 2) g_table[i] = take_calloc(random.between(33 * kKiB, 300 * kKiB), random.next());
  for (size_t i = 3220; i < 3222; ++i) g_table[i] = take_malloc(random.between(3 * kMiB / 2, 2 * kMiB), random.next());
  g_checksum += give(g_table[3220]);
  g_table[3220] = take_calloc(3 * kMiB / 2 + 5, random.next());
  // Address space more than memory: only its two ends are touched.
  const size_t vast = 96 * kMiB;
  errno = 0;
  auto *ends = static_cast<unsigned char *>(v_malloc(vast));
  if (ends == nullptr) {
    count_null();
  } else {
    ends[0] = 1;
    ends[vast - 1] = 2;
    REQUIRE(ends[0] == 1 && ends[vast - 1] == 2);
    free_keeping_errno(ends);
    g_checksum += 96;
  }
}

// The pattern of a block that a realloc has just resized from block.size: intact as far as both sizes reach.
void require_kept(const void *moved, size_t size, const Block &block) {
  const size_t kept = size < block.size ? size : block.size;
  const bool whole = block.size <= 16 * kKiB;  // as visit_pattern: every word, or the first of each page
  const size_t step = whole ? 8 : kPage;
  const size_t end = whole ? kept : (block.size - 16 < kept ? block.size - 16 : kept);
  for (size_t at = 0; at + 8 <= end; at += step) {
    const uint64_t word = mix(block.seed ^ (whole ? 0 : at));
    if (memcmp(static_cast<const char *>(moved) + at, &word, 8) != 0) BROKEN("realloc(%zu -> %zu) lost byte %zu", block.size, size, at);
  }
}

// False: NULL, and the old block is whole.
bool resize(Block &block, size_t size, Random &random) {
  if (block.at == nullptr) return false;
  errno = 0;
  void *moved = v_realloc(block.at, size);
  if (moved == nullptr) {
    count_null();
    if (!holds_pattern(block.at, block.size, block.seed)) BROKEN("a failed realloc(%zu -> %zu) damaged the block", block.size, size);
    return false;
  }
  require_kept(moved, size, block);
  block = take(moved, size, random.next());
  g_checksum += mix(size);
  return true;
}

// Two blocks climb in turn from 24 bytes to 3 MiB, each in the other's way so that pages have to move, and back down.
// (To a warm place a block is copied: nothing may be warm.)
void realloc_ladder(Random &random) {
  v_trim(0);
  Block pair[2] = {take_malloc(24, random.next()), take_malloc(24, random.next())};
  for (size_t size = 48; size <= 3 * kMiB; size *= 2)
    for (Block &block : pair) resize(block, size, random);
  for (size_t size = 1 * kMiB; size >= 48; size /= 3)
    for (Block &block : pair) resize(block, size, random);
  for (Block &block : pair) g_checksum += give(block);
}

void alignments(Random &random) {
  Block blocks[24];
  size_t count = 0;
  for (size_t alignment = 32; alignment <= 4 * kMiB && count < 24; alignment *= 2) {
    const size_t size = random.between(1, 3 * kPage);
    errno = 0;
    void *at = nullptr;
    if (count % 3 == 0) at = v_memalign(alignment, size);
    if (count % 3 == 1) at = v_aligned_alloc(alignment, size);
    if (count % 3 == 2) {
      void *const untouched = &at;  // any value that is not an answer
      at = untouched;
      const int error = v_posix_memalign(&at, alignment, size);
      if (error != 0) {
        if (error != ENOMEM) BROKEN("posix_memalign(%zu) returned %d", alignment, error);
        if (at != untouched) BROKEN("a failed posix_memalign changed *p");
        at = nullptr;
        errno = ENOMEM;
      }
    }
    if (at != nullptr && reinterpret_cast<uintptr_t>(at) % alignment != 0) BROKEN("%p is not aligned to %zu", at, alignment);
    blocks[count++] = take(at, size, random.next());
  }
  for (size_t i = 0; i < count; ++i) g_checksum += give(blocks[i]);
}

// --- threads: each churns, then leaves a hand of live blocks for the main thread to free ------
constexpr size_t kThreads = 3;
constexpr size_t kHand = 64;

struct Worker {
  pthread_t thread;
  uint64_t seed;
  uint64_t checksum;
  Block hand[kHand];
};
Worker g_workers[kThreads];

void *churn(void *argument) {
  auto *worker = static_cast<Worker *>(argument);
  Random random{worker->seed};
  for (int i = 0; i < 400; ++i) {
    Block &slot = worker->hand[random.between(0, kHand - 1)];
    worker->checksum += give(slot);
    const size_t size = i % 40 == 0 ? random.between(33 * kKiB, 200 * kKiB) : random.between(1, 4000);
    slot = i % 3 == 0 ? take_calloc(size, random.next()) : take_malloc(size, random.next());
  }
  return nullptr;
}

void threads(Random &random) {
  bool started[kThreads] = {};
  for (size_t i = 0; i < kThreads; ++i) {
    g_workers[i].seed = random.next();
    g_workers[i].checksum = 0;
    started[i] = pthread_create(&g_workers[i].thread, nullptr, churn, &g_workers[i]) == 0;
    if (!started[i]) __atomic_fetch_add(&g_nulls, 1, __ATOMIC_RELAXED);  // the stack's memory was refused
  }
  for (size_t i = 0; i < kThreads; ++i) {
    if (!started[i]) continue;
    pthread_join(g_workers[i].thread, nullptr);
    g_checksum += g_workers[i].checksum;
    for (Block &block : g_workers[i].hand) g_checksum += give(block);
  }
}

// The child inherits a full heap: it must be able to check, free and allocate in it.
void fork_child(Random &random) {
  const uint64_t seed = random.next();
  const pid_t child = fork();
  if (child < 0) {
    __atomic_fetch_add(&g_nulls, 1, __ATOMIC_RELAXED);
    return;
  }
  if (child == 0) {
    alarm(60);
    for (size_t i = 0; i < kTable; i += 11) give(g_table[i]);
    Random own{seed};
    for (size_t i = 0; i < 60; ++i) {
      Block block = take_calloc(own.between(1, 50 * kKiB), own.next());
      give(block);
    }
    _exit(0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) BROKEN("the forked child ended with status 0x%x", static_cast<unsigned>(status));
}

long g_mid_rss = 0;

void one_cycle(uint64_t seed) {
  Random random{seed};
  for (size_t repeat = 0; repeat < g_scale; ++repeat) {
    small_and_medium(random);
    large_and_huge(random);
    realloc_ladder(random);
    alignments(random);
    if (g_use_threads) threads(random);
    if (g_use_fork) fork_child(random);
    g_mid_rss = rss_kib();
    for (Block &block : g_table) g_checksum += give(block);
  }
  errno = 0;
  v_trim(0);
  v_trim(0);  // what the first could not give back for a fault that happened once, the second can
}

}  // namespace

int main(int argc, char **argv) {
  alarm(120);
  size_t cycles = 3;
  const char *denied = nullptr;
  int error = ENOSYS;
  for (int i = 1; i < argc; ++i) {
    if (number_after(argv[i], "--cycles=") != SIZE_MAX) cycles = number_after(argv[i], "--cycles=");
    else if (number_after(argv[i], "--scale=") != SIZE_MAX) g_scale = number_after(argv[i], "--scale=");
    else if (strcmp(argv[i], "--no-threads") == 0) g_use_threads = false;
    else if (strcmp(argv[i], "--no-fork") == 0) g_use_fork = false;
    else if (strncmp(argv[i], "--deny=", 7) == 0) denied = argv[i] + 7;
    else if (strncmp(argv[i], "--errno=", 8) == 0) error = syscall_filter::parse_errno(argv[i] + 8);
    else BROKEN("unknown option %s", argv[i]);
  }
  SAY("main\n");
  require_library();
  if (denied != nullptr && !syscall_filter::deny(denied, error)) {
    say_to(2, "victim: no seccomp filter here\n");
    return kSkipped;
  }
  SAY("start rss=%ld vsize=%ld\n", rss_kib(), vsize_kib());
  for (size_t cycle = 0; cycle < cycles; ++cycle) {
    one_cycle(42);  // the same work each time: a second cycle must fit where the first one was
    SAY("cycle rss=%ld vsize=%ld\n", rss_kib(), vsize_kib());
  }
  SAY("checksum=%016llx nulls=%u mid=%ld\n", static_cast<unsigned long long>(g_checksum),
      __atomic_load_n(&g_nulls, __ATOMIC_RELAXED), g_mid_rss);
  return 0;
}
