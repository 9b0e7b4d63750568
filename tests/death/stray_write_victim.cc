// Writes into blocks it has freed, then allocates a great many: stray_write_victim SIZE BYTES PATTERN SEED.
// Run by heap_race_test under the library being tested.
// Invariant: free lists and metadata live outside the blocks, so the stray bytes redirect nothing: every
// block handed out afterwards is distinct, aligned, inside no other, and keeps what is written to it.
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kMostMallocs = std::size_t{256} << 10;

void *(*volatile take)(std::size_t) = &malloc;
void (*volatile give_back)(void *) = &free;

[[noreturn]] void fail(const char *why, const void *where) {
  std::printf("%s: %p\n", why, where);
  std::fflush(stdout);
  _exit(1);
}

char **table(std::size_t count) {
  void *p = mmap(nullptr, count * sizeof(char *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) fail("mmap", nullptr);
  return static_cast<char **>(p);
}

struct Scribbler {
  std::size_t bytes;
  const char *pattern;
  std::mt19937 random;
  char *some_live_block;

  void scribble(char *block, std::size_t size) {
    const std::size_t n = std::min(bytes, size);
    if (std::strcmp(pattern, "letters") == 0) std::memset(block, 'A', n);
    if (std::strcmp(pattern, "zeros") == 0) std::memset(block, 0, n);
    if (std::strcmp(pattern, "ones") == 0) std::memset(block, 0xff, n);
    for (std::size_t i = 0; i + 8 <= n; i += 8) {
      std::uint64_t word = 0;
      if (std::strcmp(pattern, "random") == 0) {
        word = (std::uint64_t{random()} << 32) | random();
      } else if (std::strcmp(pattern, "pointers") == 0) {
        word = reinterpret_cast<std::uint64_t>(some_live_block);
      } else if (std::strcmp(pattern, "stack") == 0) {
        word = reinterpret_cast<std::uint64_t>(&word);
      } else {
        return;
      }
      std::memcpy(block + i, &word, sizeof word);
    }
  }
};

struct Crowd {
  std::size_t size, count;
  char **blocks;

  void allocate() {
    for (std::size_t i = 0; i < count; ++i) {
      blocks[i] = static_cast<char *>(take(size));
      if (blocks[i] == nullptr) fail("malloc returned NULL", nullptr);
      if (reinterpret_cast<std::uintptr_t>(blocks[i]) % (size > 8 ? 16 : 8) != 0) fail("misaligned", blocks[i]);
      std::memcpy(blocks[i], &i, sizeof i);
      if (size >= 16) std::memcpy(blocks[i] + size - 8, &i, sizeof i);
    }
  }
  void check() const {
    for (std::size_t i = 0; i < count; ++i) {
      if (std::memcmp(blocks[i], &i, sizeof i) != 0) fail("cookie lost at the start", blocks[i]);
      if (size >= 16 && std::memcmp(blocks[i] + size - 8, &i, sizeof i) != 0) fail("cookie lost at the end", blocks[i]);
    }
    std::sort(blocks, blocks + count);
    for (std::size_t i = 1; i < count; ++i) {
      if (blocks[i] == blocks[i - 1]) fail("handed out twice", blocks[i]);
      if (blocks[i] < blocks[i - 1] + size) fail("overlap", blocks[i]);
    }
  }
  void release_all() const {
    for (std::size_t i = 0; i < count; ++i) give_back(blocks[i]);
  }
};

bool library_in_use() {
  const char *control = getenv("WARREN_CONTROL");
  if (control != nullptr && std::strcmp(control, "1") == 0) return true;
  Dl_info info{};
  return dladdr(reinterpret_cast<void *>(&malloc), &info) != 0 && std::strstr(info.dli_fname, "libwarren") != nullptr;
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 5 || !library_in_use()) return 2;
  const std::size_t size = std::strtoul(argv[1], nullptr, 10);
  Scribbler scribbler{std::strtoul(argv[2], nullptr, 10), argv[3],
                      std::mt19937(static_cast<unsigned>(std::atoi(argv[4]))), static_cast<char *>(take(size))};
  alarm(60);
  Crowd victims{size, std::min<std::size_t>(4'000, 32 * kMiB / size), nullptr};
  victims.blocks = table(victims.count);
  Crowd later{size, std::min(kMostMallocs, 256 * kMiB / size), nullptr};
  later.blocks = table(later.count);

  for (int round = 0; round < 2; ++round) {
    victims.allocate();
    if (round == 0) {
      victims.release_all();
    } else {  // every other one, by another thread: partly free spans, other caches
      const auto free_odd = [](void *raw) -> void * {
        const auto *crowd = static_cast<Crowd *>(raw);
        for (std::size_t i = 1; i < crowd->count; i += 2) give_back(crowd->blocks[i]);
        return nullptr;
      };
      pthread_t thread;
      if (pthread_create(&thread, nullptr, free_odd, &victims) != 0) return 2;
      pthread_join(thread, nullptr);
    }
    for (std::size_t i = 0; i < victims.count; ++i) {
      if (round == 0 || i % 2 == 1) scribbler.scribble(victims.blocks[i], size);
    }
    later.allocate();
    later.check();
    later.release_all();
    for (std::size_t i = 0; round == 1 && i < victims.count; i += 2) give_back(victims.blocks[i]);
  }
  std::printf("no harm\n");
  return 0;
}
