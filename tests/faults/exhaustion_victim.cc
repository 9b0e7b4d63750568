// exhaustion_victim: nine threads allocate by every function of the family until memory is used up, then free all;
// after that memory must be there again, and calloc still zero. Run by limits_test.py under RLIMIT_AS, RLIMIT_DATA and
// with mappings used up (--maps). Prints "exhausted nulls=N blocks=N" for each round and "held" last.
// Invariant: every NULL says ENOMEM, every block keeps its pattern.
#include <pthread.h>
#include <sys/mman.h>

#include "victim.h"

namespace {

using namespace victim;

constexpr size_t kSizes[] = {144, 4096, 17 * kPage, 300 * kKiB, 24};
constexpr size_t kThreads = 9;

struct Link {
  Link *next;
  size_t size;
  uint64_t seed;
};
static_assert(sizeof(Link) == 24);

size_t g_nulls, g_blocks, g_kib;

void *by_function(unsigned kind, size_t size) {
  errno = 0;
  void *block = nullptr;
  switch (kind % 8) {
    case 0: block = v_malloc(size); break;
    case 1: block = v_calloc(1, size); break;
    case 2: block = v_realloc(nullptr, size); break;
    case 3: block = v_reallocarray(nullptr, 2, size / 2); break;
    case 4: block = v_memalign(64, size); break;
    case 5: block = v_aligned_alloc(32, size); break;
    case 6: block = v_valloc(size); break;
    case 7:
      if (const int error = v_posix_memalign(&block, 128, size); error != 0) {
        block = nullptr;
        errno = error;
      }
      break;
  }
  require_enomem(block);
  if (block != nullptr && kind % 8 == 1 && !all_zero(block, size)) BROKEN("calloc(1, %zu) is not zero", size);
  return block;
}

void *exhaust(void *argument) {
  const unsigned number = *static_cast<unsigned *>(argument);
  const size_t size = kSizes[number % (sizeof kSizes / sizeof *kSizes)];
  Link *all = nullptr;
  size_t blocks = 0;
  unsigned in_a_row = 0;
  for (unsigned i = 0; in_a_row < 8 && blocks < (size_t{1} << 20); ++i) {
    void *block = by_function(i, size);
    if (block == nullptr) {
      ++in_a_row;
      __atomic_fetch_add(&g_nulls, 1, __ATOMIC_RELAXED);
      continue;
    }
    in_a_row = 0;
    ++blocks;
    auto *link = static_cast<Link *>(block);
    *link = Link{all, size, number * 1000003u + blocks};
    if (size > sizeof(Link)) fill_pattern(link + 1, size - sizeof(Link), link->seed);
    all = link;
  }
  __atomic_fetch_add(&g_blocks, blocks, __ATOMIC_RELAXED);
  __atomic_fetch_add(&g_kib, blocks * size / kKiB, __ATOMIC_RELAXED);
  while (all != nullptr) {
    Link *link = all;
    all = link->next;
    if (size > sizeof(Link) && !holds_pattern(link + 1, size - sizeof(Link), link->seed)) BROKEN("a block of %zu lost its bytes", size);
    free_keeping_errno(link);
  }
  return nullptr;
}

void round_of_exhaustion() {
  pthread_t threads[kThreads];
  unsigned numbers[kThreads];
  bool started[kThreads] = {};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 * kKiB);
  g_nulls = g_blocks = g_kib = 0;
  for (unsigned i = 0; i < kThreads; ++i) {
    numbers[i] = i;
    started[i] = pthread_create(&threads[i], &attributes, exhaust, &numbers[i]) == 0;
  }
  for (unsigned i = 0; i < kThreads; ++i) {
    if (started[i]) pthread_join(threads[i], nullptr);
  }
  if (!started[0]) exhaust(&numbers[0]);
  SAY("exhausted nulls=%zu blocks=%zu kib=%zu\n", g_nulls, g_blocks, g_kib);
}

// Uses up the kernel's mappings: neighbours that cannot merge.
void use_up_mappings() {
  for (unsigned i = 0; i < 100000; ++i) {
    if (mmap(nullptr, kPage, i % 2 == 0 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
      SAY("mappings used=%u\n", i);
      return;
    }
  }
  BROKEN("the kernel has no limit of mappings");
}

}  // namespace

int main(int argc, char **argv) {
  alarm(110);
  require_library();
  size_t rounds = 3;
  for (size_t size : kSizes) free_keeping_errno(v_malloc(size * 8));  // the heap exists before anything is used up
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--maps") == 0) use_up_mappings();
    if (number_after(argv[i], "--rounds=") != SIZE_MAX) rounds = number_after(argv[i], "--rounds=");
  }
  void *first = v_malloc(100);
  for (size_t round = 0; round < rounds; ++round) {
    round_of_exhaustion();
    if (g_nulls == 0) BROKEN("memory was never used up");
    if (g_blocks == 0) BROKEN("no block at all");
    v_trim(0);
    for (size_t size : kSizes) {  // it is there again
      void *block = v_calloc(1, size);
      if (block == nullptr || !all_zero(block, size)) BROKEN("calloc(1, %zu) after everything was freed: %p", size, block);
      free_keeping_errno(block);
    }
  }
  free_keeping_errno(first);
  SAY("held\n");
  return 0;
}
