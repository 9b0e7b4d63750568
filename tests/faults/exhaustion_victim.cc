// exhaustion_victim: nine threads allocate by every function of the family until memory is used up and all hold what
// they have; then the awkward calls are made (realloc, new, fork, a new thread); then everything is freed, half of the
// time by another thread, and memory must be there again. Run by limits_test.py under RLIMIT_AS, RLIMIT_DATA, and with
// the kernel's mappings used up (--maps). --vast takes blocks of 5 to 300 MiB, of which only the ends are touched.
// Prints "exhausted nulls=N blocks=N kib=N usable=N" for each round, in KiB what was asked for and what these blocks
// have room for (valloc(24) takes a page: where the threads with small blocks win, they are far apart), and "held" last.
// Invariant: every NULL says ENOMEM, every block keeps its pattern, and what was freed can be had again.
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <new>

#include "victim.h"

namespace {

using namespace victim;

constexpr size_t kSizes[] = {144, 4096, 17 * kPage, 300 * kKiB, 24};
constexpr size_t kVastSizes[] = {64 * kMiB, 5 * kMiB + 5, 300 * kMiB, 33 * kMiB, 16 * kMiB};
constexpr unsigned kThreads = 9;
constexpr unsigned kKinds = 9;

struct Link {
  Link *next;
  size_t size;
  uint64_t seed;
};
static_assert(sizeof(Link) == 24);

bool g_vast = false;
size_t g_nulls, g_blocks, g_bytes, g_usable;  // of this round; atomic while the threads fill
Link *g_lists[kThreads];                      // each written by its thread, read by another one phase later
unsigned g_started;
unsigned g_round;
pthread_mutex_t g_gate = PTHREAD_MUTEX_INITIALIZER;
pthread_barrier_t g_phase;

const size_t *sizes() { return g_vast ? kVastSizes : kSizes; }

void *by_function(unsigned kind, size_t size) {
  errno = 0;
  void *block = nullptr;
  switch (kind % kKinds) {
    case 0: block = v_malloc(size); break;
    case 1: block = v_calloc(1, size); break;
    case 2: block = v_realloc(nullptr, size); break;
    case 3: block = v_reallocarray(nullptr, 1, size); break;
    case 4: block = v_memalign(64, size); break;
    case 5: block = v_aligned_alloc(32, size); break;
    case 6: block = v_valloc(size); break;
    case 7: {
      void *const untouched = &block;  // any value that is not an answer
      block = untouched;
      if (const int error = v_posix_memalign(&block, 128, size); error != 0) {
        if (error != ENOMEM || block != untouched) BROKEN("posix_memalign returned %d and %p", error, block);
        block = nullptr;
        errno = ENOMEM;
      }
      break;
    }
    case 8:  // in two steps: what is there must survive the second one failing
      block = v_malloc(24);
      if (block == nullptr) break;
      memset(block, 0x42, 24);
      errno = 0;
      if (void *grown = v_realloc(block, size); grown != nullptr) {
        block = grown;
        break;
      }
      require_enomem(nullptr);
      for (int i = 0; i < 24; ++i) REQUIRE(static_cast<char *>(block)[i] == 0x42);
      free_keeping_errno(block);
      block = nullptr;
      errno = ENOMEM;
      break;
  }
  require_enomem(block);
  if (block != nullptr && kind % kKinds == 1) {
    const bool zero = g_vast ? all_zero(block, kPage) && all_zero(static_cast<char *>(block) + size - kPage, kPage) : all_zero(block, size);
    if (!zero) BROKEN("calloc(1, %zu) is not zero", size);
  }
  return block;
}

void mark(Link *link) {
  auto *bytes = reinterpret_cast<char *>(link);
  if (g_vast) memcpy(bytes + link->size - 8, &link->seed, 8);
  else if (link->size > sizeof(Link)) fill_pattern(link + 1, link->size - sizeof(Link), link->seed);
}

bool marked(Link *link) {
  auto *bytes = reinterpret_cast<char *>(link);
  if (g_vast) return memcmp(bytes + link->size - 8, &link->seed, 8) == 0;
  return link->size <= sizeof(Link) || holds_pattern(link + 1, link->size - sizeof(Link), link->seed);
}

Link *fill(unsigned number) {
  const size_t size = sizes()[(number + g_round) % 5];
  Link *all = nullptr;
  size_t blocks = 0, usable = 0;
  unsigned in_a_row = 0;
  for (unsigned i = number; in_a_row < kKinds && blocks < (size_t{4} << 20); ++i) {
    void *block = by_function(i, size);
    if (block == nullptr) {
      ++in_a_row;
      __atomic_fetch_add(&g_nulls, 1, __ATOMIC_RELAXED);
      continue;
    }
    in_a_row = 0;
    ++blocks;
    usable += v_usable_size(block);
    auto *link = static_cast<Link *>(block);
    *link = Link{all, size, number * 1000003u + blocks};
    mark(link);
    all = link;
  }
  __atomic_fetch_add(&g_blocks, blocks, __ATOMIC_RELAXED);
  __atomic_fetch_add(&g_bytes, blocks * size, __ATOMIC_RELAXED);
  __atomic_fetch_add(&g_usable, usable, __ATOMIC_RELAXED);
  return all;
}

void give_back(Link *all) {
  while (all != nullptr) {
    Link *link = all;
    all = link->next;
    if (!marked(link)) BROKEN("a block of %zu lost its bytes", link->size);
    free_keeping_errno(link);
  }
}

void *exhaust(void *argument) {
  const auto number = static_cast<unsigned>(reinterpret_cast<uintptr_t>(argument));
  pthread_mutex_lock(&g_gate);  // until all who can start have started
  pthread_mutex_unlock(&g_gate);
  g_lists[number] = fill(number);
  pthread_barrier_wait(&g_phase);  // all hold what they have: the main thread tries its calls
  for (Link *link = g_lists[number]; link != nullptr; link = link->next) REQUIRE(marked(link));
  pthread_barrier_wait(&g_phase);
  give_back(g_lists[g_round % 2 == 0 ? number : (number + 1) % g_started]);
  pthread_barrier_wait(&g_phase);  // all is free, all threads are still there with their caches
  pthread_barrier_wait(&g_phase);
  return nullptr;
}

void *small_thread(void *) {
  for (size_t size = 8; size < 2 * kMiB; size *= 3) {
    errno = 0;
    void *block = v_malloc(size);
    require_enomem(block);
    free_keeping_errno(block);
  }
  return nullptr;
}

// What programs do when memory is short, while nothing is left.
void awkward_calls(void *kept, size_t kept_size) {
  errno = 0;
  void *grown = v_realloc(kept, 16ul << 30);
  require_enomem(grown);
  if (grown != nullptr || !holds_pattern(kept, kept_size, 7)) BROKEN("a failed realloc harmed its block");
  volatile size_t absurd = size_t{1} << 45;
  REQUIRE(::operator new(absurd, std::nothrow) == nullptr);
  bool thrown = false;
  try {
    void *never = ::operator new(absurd);
    free_keeping_errno(never);
  } catch (const std::bad_alloc &) {
    thrown = true;
  }
  REQUIRE(thrown);
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 64 * kKiB);
  if (pthread_create(&thread, &attributes, small_thread, nullptr) == 0) pthread_join(thread, nullptr);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    if (!holds_pattern(kept, kept_size, 7)) BROKEN("the child sees other bytes");
    free_keeping_errno(kept);
    small_thread(nullptr);
    _exit(0);
  }
  int status = 0;
  if (child > 0) waitpid(child, &status, 0);
  if (status != 0) BROKEN("a child of an exhausted process ended with 0x%x", static_cast<unsigned>(status));
}

void require_available(const char *when) {
  for (unsigned i = 0; i < 5; ++i) {
    const size_t size = sizes()[i] < 64 * kMiB ? sizes()[i] : 40 * kMiB;
    errno = 0;
    void *block = v_calloc(1, size);
    if (block == nullptr || !all_zero(block, g_vast ? kPage : size)) BROKEN("calloc(1, %zu) %s: %p", size, when, block);
    free_keeping_errno(block);
  }
}

void round_of_exhaustion() {
  pthread_t threads[kThreads];
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 * kKiB);
  g_nulls = g_blocks = g_bytes = g_usable = 0;
  const size_t kept_size = 50 * kKiB;
  void *kept = v_malloc(kept_size);
  if (kept == nullptr) BROKEN("no %zu bytes at the start of a round", kept_size);
  fill_pattern(kept, kept_size, 7);
  pthread_mutex_lock(&g_gate);
  g_started = 0;
  while (g_started < kThreads && pthread_create(&threads[g_started], &attributes, exhaust,
                                                reinterpret_cast<void *>(static_cast<uintptr_t>(g_started))) == 0)
    ++g_started;
  pthread_barrier_init(&g_phase, nullptr, g_started + 1);
  pthread_mutex_unlock(&g_gate);
  Link *own = g_started == 0 ? fill(0) : nullptr;  // no memory for a stack: the main thread has to do
  pthread_barrier_wait(&g_phase);
  awkward_calls(kept, kept_size);
  pthread_barrier_wait(&g_phase);
  give_back(own);
  pthread_barrier_wait(&g_phase);
  require_available("after everything was freed");
  pthread_barrier_wait(&g_phase);
  for (unsigned i = 0; i < g_started; ++i) pthread_join(threads[i], nullptr);
  pthread_barrier_destroy(&g_phase);
  REQUIRE(holds_pattern(kept, kept_size, 7));
  free_keeping_errno(kept);
  SAY("exhausted threads=%u nulls=%zu blocks=%zu kib=%zu usable=%zu\n", g_started, g_nulls, g_blocks,
      g_bytes / kKiB, g_usable / kKiB);
}

// Uses up the kernel's mappings: neighbours that cannot merge.
void use_up_mappings() {
  for (unsigned i = 0; i < 3000000; ++i) {
    if (mmap(nullptr, kPage, i % 2 == 0 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
      SAY("mappings used=%u\n", i);
      return;
    }
  }
  SAY("no limit of mappings\n");
  _exit(kSkipped);
}

}  // namespace

int main(int argc, char **argv) {
  alarm(110);
  require_library();
  unsigned rounds = 3;
  bool maps = false;
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--maps") == 0) maps = true;
    else if (strcmp(argv[i], "--vast") == 0) g_vast = true;
    else if (number_after(argv[i], "--rounds=") != SIZE_MAX) rounds = static_cast<unsigned>(number_after(argv[i], "--rounds="));
    else BROKEN("unknown option %s", argv[i]);
  }
  if (maps) {
    for (size_t size : kSizes) free_keeping_errno(v_malloc(size * 8));  // the heap exists before mappings run out
    use_up_mappings();
  }
  void *first = v_malloc(100);
  for (g_round = 0; g_round < rounds; ++g_round) {
    round_of_exhaustion();
    if (g_nulls == 0) BROKEN("memory was never used up");
    if (g_blocks == 0) BROKEN("no block at all");
    v_trim(0);
    require_available("after the threads have gone");
    // In one piece as well: nothing that a thread once cached pins the pages in between.
    const size_t piece = maps ? 0 : g_bytes / 4;
    errno = 0;
    void *block = v_malloc(piece);
    if (block == nullptr) BROKEN("%zu bytes were had in pieces, but %zu in one piece cannot be had now", g_bytes, piece);
    free_keeping_errno(block);
  }
  free_keeping_errno(first);
  SAY("held\n");
  return 0;
}
