// The only pointers to objects are moved about by the program's threads, in every way in which a program moves memory, while
// another thread collects without a break. Each object carries a checksum that its death would break.
//
//   stress_test [--seconds=N] [--seed=N] [--threads=N] [--only=PART]
//
// The parts share the seconds. Prints its seed. With WARREN_SOAK=1 each second is a minute.
// Invariant: an object is reachable through exactly one word, but for the moment of a move in a register or on a stack.
#include "warren/gc.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <mutex>
#include <random>
#include <string_view>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

double seconds = 60;  // of one part, once main() has shared them out
uint64_t seed = 0;
unsigned thread_count = 3;
std::string_view only;

std::atomic<bool> over{false};
std::atomic<uint64_t> moves{0}, cycles{0};

bool conf_has(const char *word) {
  const char *conf = getenv("WARREN_CONF");
  return conf != nullptr && strstr(conf, word) != nullptr;
}

uint64_t mix(uint64_t value) {
  value ^= value >> 33;
  value *= 0xff51afd7ed558ccd;
  return value ^ value >> 29;
}

// A chain of two, so that a mark that was forgotten loses the second one.
struct Canary {
  Canary *tail;
  uint64_t number;
  uint64_t sum;
};

void fail(const char *part, const Canary *canary, const char *what) {
  fprintf(stderr, "%s: %s lost: %p tail %p number %llx sum %llx, seed %llu\n", part, what, static_cast<const void *>(canary),
          static_cast<void *>(canary->tail), static_cast<unsigned long long>(canary->number),
          static_cast<unsigned long long>(canary->sum), static_cast<unsigned long long>(seed));
  abort();
}

Canary *make(uint64_t number) {
  auto *tail = static_cast<Canary *>(wr_gc_malloc(sizeof(Canary)));
  tail->number = ~number;
  tail->sum = mix(~number);
  auto *canary = static_cast<Canary *>(wr_gc_malloc(sizeof(Canary)));
  canary->tail = tail;
  canary->number = number;
  canary->sum = mix(number);
  return canary;
}

void check(const char *part, const Canary *canary) {
  if (canary == nullptr) return;
  if (canary->sum != mix(canary->number)) fail(part, canary, "canary");
  if (canary->tail == nullptr || canary->tail->number != ~canary->number || canary->tail->sum != mix(~canary->number)) {
    fail(part, canary, "tail");
  }
}

// Objects full of places. Each thread has some of its own; what they hold is handed on through a shared one.
constexpr size_t kPlaces = 400;
struct Holder {
  Canary *places[kPlaces];
};

Holder *make_holder(size_t bytes = sizeof(Holder)) {
  auto *holder = static_cast<Holder *>(wr_gc_malloc(bytes));
  for (size_t i = 0; i < kPlaces; ++i) holder->places[i] = make(i);
  return holder;
}

void check_all(const char *part, Holder *holder) {
  for (Canary *canary : holder->places) check(part, canary);
}

using Random = std::mt19937_64;

void litter(Random &random) {
  for (int i = 0; i < 8; ++i) memset(wr_gc_malloc(16 + random() % 200), 0xff, 16);
}

// Runs the body over and over on some threads, while one collects.
template <class Body>
void run(const char *part, Body body) {
  over = false;
  moves = cycles = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < thread_count; ++t) {
    threads.emplace_back([=] {
      Random random(seed * 1000 + t);
      body(random, t);
    });
  }
  threads.emplace_back([] {
    while (!over) {
      wr_gc_collect();
      ++cycles;
    }
  });
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  over = true;
  for (std::thread &thread : threads) thread.join();
  printf("%-8s %llu moves, %llu cycles\n", part, static_cast<unsigned long long>(moves),
         static_cast<unsigned long long>(cycles));
  fflush(stdout);
}

// One word moves to a new place, the old one is cleared.
template <class Move>
void run_moves(const char *part, Move move) {
  run(part, [=](Random &random, unsigned) {
    constexpr size_t kHolders = 16;
    Holder *holders[kHolders];
    for (Holder *&holder : holders) holder = make_holder();
    while (!over) {
      for (int i = 0; i < 200; ++i) {
        Canary **from = &holders[random() % kHolders]->places[random() % kPlaces];
        Canary **to = &holders[random() % kHolders]->places[random() % kPlaces];
        move(from, to, random);
      }
      moves += 200;
      litter(random);
      check_all(part, holders[random() % kHolders]);
      if (random() % 64 == 0) {
        Holder *&old = holders[random() % kHolders];
        Holder *fresh = make_holder();
        memcpy(fresh->places, old->places, sizeof fresh->places / 2);
        old = fresh;
      }
    }
    for (Holder *holder : holders) check_all(part, holder);
  });
}

void plain() {
  run_moves("plain", [](Canary **from, Canary **to, Random &) {
    Canary *moving = *from;
    if (moving == nullptr) return;
    *from = *to;  // swapped, so that none is lost
    *to = moving;
  });
}

// Blocks of pointers by memmove, within an object.
void by_memcpy() {
  run("memcpy", [](Random &random, unsigned) {
    Holder *one = make_holder(), *other = static_cast<Holder *>(wr_gc_malloc(sizeof(Holder)));
    while (!over) {
      memcpy(other->places, one->places, sizeof one->places);
      memset(one->places, 0, sizeof one->places);
      std::swap(one, other);
      const size_t first = random() % kPlaces, second = random() % kPlaces;
      std::swap_ranges(one->places, one->places + std::min(first, kPlaces / 2), one->places + kPlaces / 2);
      std::swap(one->places[first], one->places[second]);
      check_all("memcpy", one);
      litter(random);
      moves += kPlaces;
    }
  });
}

void by_realloc() {
  run("realloc", [](Random &random, unsigned) {
    size_t places = 4;
    auto **array = static_cast<Canary **>(wr_gc_malloc(places * sizeof(Canary *)));
    for (size_t i = 0; i < places; ++i) array[i] = make(i);
    while (!over) {
      const size_t next = 1 + random() % (random() % 50 == 0 ? 20'000 : 600);
      array = static_cast<Canary **>(wr_gc_realloc(array, next * sizeof(Canary *)));
      for (size_t i = places; i < next; ++i) {
        if (array[i] != nullptr) fail("realloc", array[i], "zero");
        array[i] = make(i);
      }
      places = next;
      for (size_t i = 0; i < places; ++i) check("realloc", array[i]);
      moves += places;
    }
  });
}

struct alignas(16) Pair {
  Canary *one;
  Canary *other;
};

// Pairs exchanged by all threads with 16-byte stores and compare-and-exchanges.
void atomics() {
  constexpr size_t kPairs = 64;
  static auto *shared = static_cast<Pair *>(wr_gc_malloc(kPairs * sizeof(Pair)));
  for (size_t i = 0; i < kPairs; ++i) shared[i] = {make(2 * i), make(2 * i + 1)};
  run("atomic", [](Random &random, unsigned) {
    auto *mine = static_cast<Pair *>(wr_gc_malloc(sizeof(Pair) * 2));
    mine[0] = {make(1), make(2)};
    while (!over) {
      Pair *at = &shared[random() % kPairs];
      Pair seen;
      unsigned __int128 expected = 0, wanted, found;
      auto *words = reinterpret_cast<unsigned __int128 *>(at);
      memcpy(&wanted, &mine[0], sizeof wanted);
      while ((found = __sync_val_compare_and_swap(words, expected, wanted)) != expected) expected = found;
      memcpy(&seen, &expected, sizeof seen);
      check("atomic", seen.one);
      check("atomic", seen.other);
      mine[0] = {seen.other, seen.one};
      if (random() % 16 == 0) mine[0].one = make(random());
      if (random() % 16 == 0) litter(random);
      moves += 2;
    }
  });
}

// The kernel stores the pointers into the objects: from a pipe, a socket, a file. What is inside these is reachable only through
// a copy that is cleared as soon as the call has returned.
class Channel {
 public:
  Channel() {
    if (pipe(pipe_) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, socket_) != 0) abort();
    file_ = memfd_create("stress", 0);
    if (file_ < 0) abort();
  }
  ~Channel() {
    for (const int fd : {pipe_[0], pipe_[1], socket_[0], socket_[1], file_}) close(fd);
  }
  Channel(const Channel &) = delete;
  Channel &operator=(const Channel &) = delete;

  void move(const void *from, void *to, size_t bytes, unsigned way) {
    const auto wanted = static_cast<ssize_t>(bytes);
    char *const at = static_cast<char *>(to);
    const size_t half = bytes / sizeof(void *) / 2 * sizeof(void *);
    const iovec pieces[] = {{at + half, bytes - half}, {at, half}};
    switch (way % 4) {
      case 0:
        if (write(pipe_[1], from, bytes) != wanted || read(pipe_[0], to, bytes) != wanted) abort();
        break;
      case 1:
        if (send(socket_[1], from, bytes, 0) != wanted || recv(socket_[0], to, bytes, MSG_WAITALL) != wanted) abort();
        break;
      case 2:
        if (pwrite(file_, from, bytes, 0) != wanted || pread(file_, to, bytes, 0) != wanted) abort();
        break;
      default:  // the halves change places
        if (write(pipe_[1], from, bytes) != wanted || readv(pipe_[0], pieces, 2) != wanted) abort();
        break;
    }
  }

 private:
  int pipe_[2], socket_[2], file_;
};

void by_system_calls() {
  if (conf_has("mprotect")) return;  // there they fail, as the option's text says
  run("system", [](Random &random, unsigned) {
    Channel channel;
    Holder *from = make_holder(), *to = static_cast<Holder *>(wr_gc_malloc(sizeof(Holder)));
    while (!over) {
      const size_t count = 2 + random() % (kPlaces - 1);
      channel.move(from->places, to->places, count * sizeof(Canary *), static_cast<unsigned>(random()));
      memcpy(to->places + count, from->places + count, (kPlaces - count) * sizeof(Canary *));
      memset(from->places, 0, sizeof from->places);
      check_all("system", to);
      std::swap(from, to);
      litter(random);
      moves += count;
    }
  });
}

void by_hand() {
  run("free", [](Random &random, unsigned) {
    std::vector<size_t> order;
    Holder *holder = make_holder();
    while (!over) {
      Canary *&place = holder->places[random() % kPlaces];
      check("free", place);
      if (random() % 2 == 0) {
        Canary *gone = place;
        place = make(random());
        wr_gc_free(gone->tail);
        wr_gc_free(gone);
      } else {
        place = make(random());
      }
      if (random() % 256 == 0) {
        check_all("free", holder);
        void *large = wr_gc_malloc(33'000 + random() % 200'000);
        memset(large, 0xff, 33'000);
        if (random() % 2 == 0) wr_gc_free(large);
      }
      ++moves;
    }
  });
}

// Objects of many pages, written to here and there.
void large() {
  run("large", [](Random &random, unsigned) {
    constexpr size_t kWords = 1 << 17;
    auto **object = static_cast<Canary **>(wr_gc_malloc(kWords * sizeof(Canary *)));
    while (!over) {
      for (int i = 0; i < 300; ++i) {
        Canary *&from = object[random() % kWords], *&to = object[random() % kWords];
        check("large", from);
        check("large", to);
        std::swap(from, to);
        if (random() % 4 == 0) from = make(random());
      }
      if (random() % 100 == 0) {
        auto **fresh = static_cast<Canary **>(wr_gc_malloc(kWords * sizeof(Canary *)));
        memcpy(fresh, object, kWords * sizeof(Canary *));
        memset(object, 0, kWords * sizeof(Canary *));
        object = fresh;
      }
      moves += 300;
    }
    for (size_t i = 0; i < kWords; ++i) check("large", object[i]);
  });
}

// Threads that come and go; each hands its objects on to the next through a global.
std::mutex relay_lock;
Holder *relay = nullptr;

void storm() {
  run("storm", [](Random &random, unsigned) {
    while (!over) {
      std::vector<std::thread> threads;
      for (int i = 0; i < 16; ++i) {
        threads.emplace_back([number = random()] {
          Random own(number);
          Holder *mine = make_holder();
          litter(own);
          check_all("storm", mine);
          {
            std::lock_guard guard(relay_lock);
            std::swap(mine, relay);
          }
          if (mine != nullptr) check_all("storm", mine);
        });
      }
      for (std::thread &thread : threads) thread.join();
      moves += 16;
    }
  });
}

void by_fork() {
  run("fork", [](Random &random, unsigned number) {
    Holder *holder = make_holder();
    auto **rooted = static_cast<Holder **>(wr_gc_malloc_rooted(sizeof(Holder *)));
    *rooted = make_holder();
    while (!over) {
      litter(random);
      if (number == 0) {
        const pid_t child = fork();
        if (child == 0) {
          alarm(60);
          for (int i = 0; i < 20; ++i) {
            litter(random);
            wr_gc_collect();
            check_all("fork, child", holder);
            Holder *fresh = make_holder();
            std::swap(fresh->places[i], holder->places[i]);
            holder = fresh;
          }
          std::thread([] { check_all("fork, the child's thread", make_holder()); }).join();
          check_all("fork, child", holder);
          _exit(0);
        }
        if (child < 0) continue;
        int status = 0;
        while (waitpid(child, &status, 0) < 0) {
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
          fprintf(stderr, "fork: child ended with status %x, seed %llu\n", static_cast<unsigned>(status),
                  static_cast<unsigned long long>(seed));
          abort();
        }
        ++moves;
      }
      std::swap(holder->places[random() % kPlaces], holder->places[random() % kPlaces]);
      check_all("fork", holder);
      check_all("fork, rooted", *rooted);
    }
    wr_gc_free_rooted(rooted);
  });
}

using Place = uint64_t *();

void by_dlopen() {
  static std::mutex lock;
  run("dlopen", [](Random &random, unsigned number) {
    const char *name = number % 2 == 0 ? MODULE_DIRECTORY "/libroot_module.so" : MODULE_DIRECTORY "/libother_module.so";
    while (!over) {
      std::lock_guard guard(lock);
      void *library = dlopen(name, RTLD_NOW);
      if (library == nullptr) abort();
      auto **place = reinterpret_cast<Canary **>(reinterpret_cast<Place *>(dlsym(library, "zero_word_of_module"))());
      auto **local = reinterpret_cast<Canary **>(reinterpret_cast<Place *>(dlsym(library, "thread_word_of_module"))());
      *place = make(1);
      *local = make(2);
      for (int i = 0; i < 10; ++i) litter(random);
      check("dlopen", *place);
      check("dlopen", *local);
      dlclose(library);
      ++moves;
    }
  });
}

constexpr struct {
  const char *name;
  void (*run)();
} kParts[] = {{"plain", plain}, {"memcpy", by_memcpy}, {"realloc", by_realloc}, {"atomic", atomics}, {"system", by_system_calls},
              {"free", by_hand}, {"large", large}, {"storm", storm}, {"fork", by_fork}, {"dlopen", by_dlopen}};

// What the collector's own trial of it finds out first.
bool has_soft_dirty() {
  const int clear = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC), map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  static volatile char page[8192];
  const auto address = reinterpret_cast<uintptr_t>(page) + 4095;
  uint64_t before = 0, after = 0;
  bool good = clear >= 0 && map >= 0 && write(clear, "4", 1) == 1;
  good = good && pread(map, &before, sizeof before, static_cast<off_t>(address / 4096 * 8)) == sizeof before;
  page[4095] = 1;
  good = good && pread(map, &after, sizeof after, static_cast<off_t>(address / 4096 * 8)) == sizeof after;
  close(clear);
  close(map);
  constexpr uint64_t kSoftDirty = uint64_t{1} << 55;
  return good && (before & kSoftDirty) == 0 && (after & kSoftDirty) != 0;
}

constexpr int kSkipped = 77;

bool is_wanted(const char *part) { return only.empty() || only == part; }

}  // namespace

int main(int argc, char **argv) {
  seed = std::random_device{}();
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto value = [&](std::string_view key) -> const char * {
      return argument.substr(0, key.size()) == key ? argv[i] + key.size() : nullptr;
    };
    if (const char *text = value("--seconds=")) seconds = atof(text);
    else if (const char *number = value("--seed=")) seed = strtoull(number, nullptr, 10);
    else if (const char *count = value("--threads=")) thread_count = static_cast<unsigned>(atoi(count));
    else if (const char *part = value("--only=")) only = part;
    else return fprintf(stderr, "stress_test: what is %s?\n", argv[i]), 2;
  }
  if (conf_has("soft_dirty") && !has_soft_dirty()) return puts("this kernel has no soft-dirty bits"), kSkipped;
  if (const char *soak = getenv("WARREN_SOAK"); soak != nullptr && strcmp(soak, "1") == 0) seconds *= 60;
  double parts = 0;
  for (const auto &part : kParts) parts += is_wanted(part.name) ? 1 : 0;
  if (parts == 0) return fprintf(stderr, "stress_test: no such part\n"), 2;
  seconds /= parts;
  printf("seed %llu, %g seconds a part\n", static_cast<unsigned long long>(seed), seconds);
  fflush(stdout);
  for (const auto &part : kParts) {
    if (is_wanted(part.name)) part.run();
  }
  return 0;
}
