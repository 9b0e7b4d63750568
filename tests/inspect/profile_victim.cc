// What heap_profile_test.py profiles: one scene a run, named by the first argument. Prints what it has really allocated:
// "site alloc_objects alloc_space inuse_objects inuse_space", sizes as they were asked for.
// Invariant: every site is a function that is neither inlined nor left by a tail call.
#include "warren/gc.h"
#include "warren/profile.h"

#include <alloca.h>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <map>
#include <new>
#include <string>
#include <sys/time.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

struct Truth {
  std::atomic<uint64_t> allocated{0}, bytes{0}, freed{0}, freed_bytes{0};
};

#define COUNTED_SITE(name, allocation, counted)                         \
  Truth name##_truth;                                                   \
  extern "C" __attribute__((noinline)) void *name(size_t size) {        \
    void *block = allocation;                                           \
    asm volatile("" : "+r"(block) : : "memory");                        \
    name##_truth.allocated++;                                           \
    name##_truth.bytes += counted;                                      \
    return block;                                                       \
  }

#define SITE(name, allocation) COUNTED_SITE(name, allocation, size)

SITE(site_malloc, malloc(size))
SITE(site_tiny, malloc(size))
SITE(site_new, operator new(size))
SITE(site_array, operator new[](size, std::nothrow))
SITE(site_calloc, calloc(1, size))
SITE(site_aligned, aligned_alloc(64, size))
SITE(site_page, operator new(size, std::align_val_t{8192}))
SITE(site_large, malloc(size))

// The collector's objects count with their whole blocks.
#define GC_SITE(name, allocation) COUNTED_SITE(name, allocation, wr_gc_size(block))

GC_SITE(site_gc, wr_gc_malloc(size))
GC_SITE(site_gc_noscan, wr_gc_malloc_noscan(size))
GC_SITE(site_gc_large, wr_gc_malloc(size))
GC_SITE(site_gc_freed, wr_gc_malloc(size))

Truth site_realloc_truth;
extern "C" __attribute__((noinline)) void *site_realloc(void *block, size_t before, size_t size) {
  void *moved = realloc(block, size);
  asm volatile("" : "+r"(moved) : : "memory");
  site_realloc_truth.allocated++;
  site_realloc_truth.bytes += size;
  if (block != nullptr) {
    site_realloc_truth.freed++;
    site_realloc_truth.freed_bytes += before;
  }
  return moved;
}

void release(Truth &truth, void *block, size_t size) {
  truth.freed++;
  truth.freed_bytes += size;
  free(block);
}

void tell(const char *name, const Truth &truth) {
  printf("%s %llu %llu %llu %llu\n", name, static_cast<unsigned long long>(truth.allocated),
         static_cast<unsigned long long>(truth.bytes), static_cast<unsigned long long>(truth.allocated - truth.freed),
         static_cast<unsigned long long>(truth.bytes - truth.freed_bytes));
}

void tell_all() {
  tell("site_malloc", site_malloc_truth);
  tell("site_tiny", site_tiny_truth);
  tell("site_new", site_new_truth);
  tell("site_array", site_array_truth);
  tell("site_calloc", site_calloc_truth);
  tell("site_aligned", site_aligned_truth);
  tell("site_page", site_page_truth);
  tell("site_large", site_large_truth);
  tell("site_realloc", site_realloc_truth);
  fflush(stdout);
}

// Some of everything; every third block stays.
void some_of_everything(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    const bool stays = i % 3 == 0;
    const auto size = static_cast<size_t>(i);
    struct {
      Truth &truth;
      void *block;
      size_t size;
    } blocks[] = {
        {site_malloc_truth, site_malloc(40 + size % 900), 40 + size % 900},
        {site_tiny_truth, site_tiny(8), 8},
        {site_new_truth, site_new(1500 + size % 5000), 1500 + size % 5000},
        {site_array_truth, site_array(300), 300},
        {site_calloc_truth, site_calloc(100 + size % 300), 100 + size % 300},
        {site_aligned_truth, site_aligned(64 + 64 * (size % 20)), 64 + 64 * (size % 20)},
    };
    for (auto &block : blocks) {
      memset(block.block, 1, block.size);
      if (!stays) release(block.truth, block.block, block.size);
    }
    if (i % 50 == 0) {
      void *page = site_page(10000), *large = site_large(100000);
      if (!stays) {
        release(site_page_truth, page, 10000);
        release(site_large_truth, large, 100000);
      }
    }
  }
}

void reallocations() {
  for (int i = 0; i < 300; ++i) {
    void *block = nullptr;
    size_t before = 0;
    for (size_t size = 64; size < 400000; size *= 2) {
      block = site_realloc(block, before, size);
      memset(block, 1, size);
      before = size;
    }
    for (size_t size = 300000; size > 100000; size -= 60000) {
      block = site_realloc(block, before, size);
      before = size;
    }
    if (i % 2 == 0) {
      site_realloc_truth.freed++;
      site_realloc_truth.freed_bytes += before;
      free(block);
    }
  }
}

int sites(int rounds) {
  some_of_everything(rounds);
  tell_all();
  return 0;
}

// Threads that come, allocate and go, and blocks that others free.
int threads() {
  for (int generation = 0; generation < 20; ++generation) {
    std::vector<void *> handed[4];
    std::vector<std::thread> running;
    for (auto &list : handed) {
      running.emplace_back([&list] {
        for (int i = 0; i < 2000; ++i) list.push_back(site_malloc(128));
        some_of_everything(100);
      });
    }
    for (auto &thread : running) thread.join();
    for (auto &list : handed) {
      for (void *block : list) release(site_malloc_truth, block, 128);
    }
  }
  tell_all();
  return 0;
}

// Threads that allocate once.
int short_threads() {
  std::vector<void *> blocks(3000);
  for (void *&block : blocks) std::thread([&block] { block = site_malloc(5000); }).join();
  tell_all();
  return 0;
}

// Every third object of the collector's stays; the others are swept, or released. `threads`: so many do so at once, with
// collections meanwhile.
void **kept_objects;  // itself one of them
std::atomic<size_t> kept_count{0};
constexpr size_t kMostKept = 100000;

void keep(Truth &truth, void *object, bool stays) {
  if (stays) {
    kept_objects[kept_count++] = object;
  } else {
    truth.freed++;
    truth.freed_bytes += wr_gc_size(object);
  }
}

void some_objects(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    const bool stays = i % 3 == 0;
    const auto size = static_cast<size_t>(i);
    keep(site_gc_truth, site_gc(20 + size % 3000), stays);
    keep(site_gc_noscan_truth, site_gc_noscan(16 + size % 500), stays);
    if (i % 50 == 0) keep(site_gc_large_truth, site_gc_large(40000 + size), stays);
    void *freed = site_gc_freed(100 + size % 20000);
    keep(site_gc_freed_truth, freed, false);
    wr_gc_free(freed);
  }
}

// What an old word on the stack could hold.
__attribute__((noinline)) void wipe_stack() {
  volatile char area[16384];
  for (volatile char &byte : area) byte = 0;
}

int collected(int threads, int rounds) {
  kept_objects = static_cast<void **>(wr_gc_malloc(kMostKept * sizeof(void *)));
  if (threads == 0) {
    some_objects(rounds);
  } else {
    std::vector<std::thread> running;
    for (int i = 0; i < threads; ++i) running.emplace_back(some_objects, rounds);
    for (int i = 0; i < 5; ++i) wr_gc_collect();
    for (auto &thread : running) thread.join();
  }
  wipe_stack();
  for (int i = 0; i < 2; ++i) wr_gc_collect();
  tell("site_gc", site_gc_truth);
  tell("site_gc_noscan", site_gc_noscan_truth);
  tell("site_gc_large", site_gc_large_truth);
  tell("site_gc_freed", site_gc_freed_truth);
  return 0;
}

// Children allocate on their own account, while the parent's other threads allocate.
int forks() {
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) free(malloc(200));
  });
  some_of_everything(200);
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      some_of_everything(50);
      if (i != 0) _exit(0);
      done = true;
      printf("child %d\n", getpid());
      tell_all();
      exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    if (status != 0) return 1;
  }
  done = true;
  busy.join();
  printf("parent\n");
  tell_all();
  return 0;
}

// A library comes and goes while others allocate; callbacks of dl_iterate_phdr allocate with the loader's lock held.
int loading(const char *library) {
  std::atomic<bool> done{false};
  std::vector<std::thread> running;
  for (int t = 0; t < 2; ++t) {
    running.emplace_back([&] {
      while (!done) {
        std::map<int, std::string> words;
        for (int i = 0; i < 50; ++i) words[i] = std::string(100, 'x');
      }
    });
  }
  running.emplace_back([&] {
    while (!done) {
      dl_iterate_phdr([](dl_phdr_info *, size_t, void *) {
        free(malloc(300));
        return 0;
      }, nullptr);
    }
  });
  for (int i = 0; i < 300; ++i) {
    void *handle = dlopen(library, RTLD_NOW);
    if (handle == nullptr) return 1;
    auto *allocate = reinterpret_cast<void *(*)(size_t)>(dlsym(handle, "plugin_allocate"));
    if (allocate == nullptr) return 1;
    free(allocate(1000));
    dlclose(handle);
  }
  done = true;
  for (auto &thread : running) thread.join();
  return 0;
}

volatile sig_atomic_t ticks = 0;

void tick_soon() {
  const itimerval once{{0, 0}, {0, 200}};
  setitimer(ITIMER_REAL, &once, nullptr);
}

// A handler that allocates, which nobody should do and many do. What it allocates is not in the profile where it comes amid the recording
// of something else; what it interrupts always is. It sets the next tick itself, so that on a slow machine the program gets on as well.
int handler() {
  struct sigaction action{};
  action.sa_handler = [](int) {
    free(malloc(200));
    ticks = ticks + 1;
    tick_soon();
  };
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  tick_soon();
  for (int i = 0; i < 20 || ticks < 1000; ++i) some_of_everything(20);
  action.sa_handler = SIG_IGN;
  sigaction(SIGALRM, &action, nullptr);
  tell_all();
  return 0;
}

// A file whenever the signal comes, at any moment.
int dumps_by_signal() {
  for (int i = 0; i < 20; ++i) {
    raise(SIGUSR1);
    some_of_everything(20);
  }
  std::thread other([] {
    for (int i = 0; i < 20; ++i) {
      kill(getpid(), SIGUSR1);
      usleep(1000);
    }
  });
  while (true) {
    some_of_everything(10);
    if (other.joinable()) {
      other.join();
      break;
    }
  }
  tell_all();
  return 0;
}

// Sampling for a part of the program only, with files in between.
int by_hand(const char *path) {
  const std::string name(path);
  if (wr_profile_dump((name + ".before").c_str()) != ENODATA) return 1;
  some_of_everything(100);
  wr_profile_start(1);
  for (int i = 0; i < 1000; ++i) site_malloc(1000);
  if (wr_profile_dump((name + ".first").c_str()) != 0) return 2;
  std::vector<void *> blocks;
  for (int i = 0; i < 500; ++i) blocks.push_back(site_new(3000));
  wr_profile_stop();
  for (int i = 0; i < 500; ++i) site_array(4000);
  for (void *block : blocks) free(block);
  if (wr_profile_dump((name + ".second").c_str()) != 0) return 3;
  if (wr_profile_dump("/nowhere/at/all") != ENOENT) return 4;
  std::vector<std::thread> running;
  for (int t = 0; t < 4; ++t) {
    running.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        wr_profile_start(100);
        site_large(50000);
        if (wr_profile_dump((name + ".third").c_str()) != 0) abort();
        wr_profile_stop();
      }
    });
  }
  for (auto &thread : running) thread.join();
  wr_profile_start(1);
  for (int i = 0; i < 100; ++i) site_large(50000);
  return wr_profile_dump((name + ".third").c_str());
}

// Frames that are found from rbp only, two of them, below calls that each go another way through the library.
void *nowhere;
extern "C" __attribute__((noinline)) void *below_frames(size_t size, int kind) {
  auto *room = static_cast<volatile char *>(alloca(size % 80 + 16));
  room[0] = 1;
  switch (kind) {
    case 0: nowhere = malloc(size); break;
    case 1: nowhere = operator new(size); break;
    case 2: nowhere = operator new[](size, std::nothrow); break;
    case 3: nowhere = calloc(1, size); break;
    case 4: nowhere = aligned_alloc(64, size); break;
    case 5: nowhere = operator new(size, std::align_val_t{128}); break;
    case 6: nowhere = realloc(nullptr, size); break;
    case 7: nowhere = realloc(malloc(10), size); break;
    case 8: nowhere = memalign(32, size); break;
    case 9: nowhere = valloc(size); break;
    default: if (posix_memalign(&nowhere, 16, size) != 0) abort();
  }
  room[1] = room[0];
  return nowhere;
}

extern "C" __attribute__((noinline)) void outer_of_frames(size_t size, int kind) {
  auto *room = static_cast<volatile char *>(alloca(size % 112 + 16));
  room[0] = 1;
  below_frames(size, kind);
  room[1] = room[0];
}

// In a root directory of its own, where there is no /proc.
int jailed(const char *folder) {
  if (chroot(folder) != 0 || chdir("/") != 0) return 77;
  wr_profile_start(1);
  for (int i = 0; i < 1000; ++i) site_malloc(1000);
  return wr_profile_dump("/by_hand");  // prof=/at_exit is the other
}

int frames() {
  for (size_t size = 40; size < 100000; size += size / 3) {
    for (int round = 0; round < 3; ++round) {
      for (int kind = 0; kind < 11; ++kind) outer_of_frames(size, kind);
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char **argv) {
  const std::string scene = argc > 1 ? argv[1] : "";
  const char *argument = argc > 2 ? argv[2] : "";
  if (scene == "sites") return sites(std::atoi(argument));
  if (scene == "realloc") {
    reallocations();
    tell_all();
    return 0;
  }
  if (scene == "threads") return threads();
  if (scene == "short_threads") return short_threads();
  if (scene == "forks") return forks();
  if (scene == "collected") return collected(0, std::atoi(argument));
  if (scene == "collected_threads") return collected(4, std::atoi(argument));
  if (scene == "loading") return loading(argument);
  if (scene == "handler") return handler();
  if (scene == "frames") return frames();
  if (scene == "jailed") return jailed(argument);
  if (scene == "dumps_by_signal") return dumps_by_signal();
  if (scene == "by_hand") return by_hand(argument);
  return 99;
}
