// Lets two threads race to free one block, over and over: race_victim SIZE RACES SEED ORDER. Run by
// heap_race_test. ORDER says how the two threads allocate after the race: one after the other (`in_turn`),
// or at the same time (`at_once`), where the block may be asked for twice in the same instant.
// Each race is run in a forked child of a small zygote, because a good allocator ends it at once; a child
// that survives races again, up to a limit.
// Invariant: a race ends by SIGABRT with one line naming the block, or with nothing wrong: then no block
// may be handed out twice while live. Anything else is counted as bad and described on stderr. Only with
// `at_once` is a block handed out twice counted apart: a heap whose fast paths use no atomic instructions
// cannot exclude it there.
#include <dlfcn.h>
#include <pthread.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>

namespace {

constexpr int kRacesPerChild = 16;
constexpr int kBlocksAfterRace = 96;  // per thread; more than a batch, so both caches are looked into
constexpr int kDuplicateFound = 40;

struct Arena {  // shared with the zygote, and no heap memory
  std::atomic<int> arrived{0};
  std::atomic<int> races{0};
  std::atomic<char *> block{nullptr};
  char *taken[2][kBlocksAfterRace] = {};
};
Arena *g_arena;
std::size_t g_size;
unsigned g_skew[2];
bool g_in_turn;

void *(*volatile take)(std::size_t) = &malloc;
void (*volatile give_back)(void *) = &free;

void meet(int round, int step) {
  const int target = (round * 5 + step + 1) * 2;
  g_arena->arrived.fetch_add(1);
  for (int spins = 0; g_arena->arrived.load() < target; ++spins) {
    if (spins > 2'000) sched_yield();
  }
}

void race(int who, int round) {
  if (who == round % 2) g_arena->block.store(static_cast<char *>(take(g_size)));
  meet(round, 0);
  char *p = g_arena->block.load();
  for (unsigned i = 0; i < g_skew[who]; ++i) asm volatile("");
  give_back(p);
  meet(round, 1);  // nobody allocates before: a stale free of a block handed out anew cannot be noticed
  if (g_in_turn && who == 1) meet(round, 2);
  for (auto *&slot : g_arena->taken[who]) {
    slot = static_cast<char *>(take(g_size));
    if (slot != nullptr) slot[0] = static_cast<char>('a' + who);
  }
  if (!g_in_turn || who == 0) meet(round, 2);
  meet(round, 3);
  if (who == 0) {
    g_arena->races.fetch_add(1);
    char *all[2 * kBlocksAfterRace];
    char **end = std::copy(&g_arena->taken[0][0], &g_arena->taken[0][0] + kBlocksAfterRace, all);
    end = std::copy(&g_arena->taken[1][0], &g_arena->taken[1][0] + kBlocksAfterRace, end);
    std::sort(all, end);
    if (std::adjacent_find(all, end) != end) _exit(kDuplicateFound);
  }
  meet(round, 4);
  for (auto *slot : g_arena->taken[who]) give_back(slot);
}

void *second_racer(void *) {
  for (int round = 0; round < kRacesPerChild; ++round) race(1, round);
  return nullptr;
}

[[noreturn]] void be_child(int text_end) {
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  dup2(text_end, STDERR_FILENO);
  alarm(10);
  pthread_t thread;
  if (pthread_create(&thread, nullptr, second_racer, nullptr) != 0) _exit(3);
  for (int round = 0; round < kRacesPerChild; ++round) race(0, round);
  pthread_join(thread, nullptr);
  _exit(0);
}

// One line of the grammar, a double free, of this very block.
bool is_right_line(const char *text, const char *block) {
  char expected[128];
  std::snprintf(expected, sizeof expected, "warren: fatal error: double free: free(%p): ",
                static_cast<const void *>(block));
  const std::size_t length = std::strlen(text);
  const char *const tail = "; aborting\n";
  return std::strncmp(text, expected, std::strlen(expected)) == 0 && length > std::strlen(tail) &&
         std::strcmp(text + length - std::strlen(tail), tail) == 0 && std::strchr(text, '\n') == text + length - 1;
}

struct Counts {
  int races = 0, aborted = 0, survived = 0, twice = 0, bad = 0;
};

void judge(int status, const char *text, Counts &counts) {
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && is_right_line(text, g_arena->block.load())) {
    ++counts.aborted;
    ++counts.races;
    return;
  }
  counts.races += g_arena->races.load();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    ++counts.survived;
    return;
  }
  if (!g_in_turn && WIFEXITED(status) && WEXITSTATUS(status) == kDuplicateFound) {
    ++counts.twice;
    return;
  }
  ++counts.bad;
  std::fprintf(stderr, "bad end: %s %d, block %p, text: %s\n", WIFSIGNALED(status) ? "signal" : "exit status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
               static_cast<void *>(g_arena->block.load()), text);
}

bool library_in_use() {
  const char *control = getenv("WARREN_CONTROL");
  if (control != nullptr && std::strcmp(control, "1") == 0) return true;
  Dl_info info{};
  return dladdr(reinterpret_cast<void *>(&malloc), &info) != 0 && std::strstr(info.dli_fname, "libwarren") != nullptr;
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 5 || !library_in_use()) return 2;
  g_size = std::strtoul(argv[1], nullptr, 10);
  const int wanted = std::atoi(argv[2]);
  std::mt19937 random(static_cast<unsigned>(std::atoi(argv[3])));
  g_in_turn = std::strcmp(argv[4], "in_turn") == 0;
  void *shared = mmap(nullptr, sizeof(Arena), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 2;
  int ends[2];
  if (pipe(ends) != 0) return 2;

  Counts counts;
  while (counts.races < wanted && counts.bad < 5) {
    g_arena = new (shared) Arena;
    for (auto &skew : g_skew) skew = random() % 4 == 0 ? static_cast<unsigned>(random() % 200) : 0;
    const pid_t child = fork();
    if (child < 0) return 2;
    if (child == 0) be_child(ends[1]);
    int status = 0;
    if (waitpid(child, &status, 0) != child) return 2;
    char text[4096] = "";
    pollfd ready{ends[0], POLLIN, 0};
    if (poll(&ready, 1, 0) == 1) {
      const ssize_t got = read(ends[0], text, sizeof text - 1);
      text[got > 0 ? got : 0] = 0;
    }
    judge(status, text, counts);
    if (counts.races == 0 && counts.bad == 0 && counts.survived > 100) break;  // no progress: reported below
  }
  std::printf("size %zu, %s: %d races; children: %d stopped with the right line, %d survived, %d saw a block twice, "
              "%d bad\n",
              g_size, argv[4], counts.races, counts.aborted, counts.survived, counts.twice, counts.bad);
  return counts.bad == 0 && counts.races >= wanted ? 0 : 1;
}
