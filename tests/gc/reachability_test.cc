// What keeps objects alive and what does not, through the collector's public face.
// Invariant: a keeper holds the first node of a list of its own, and is the only thing that does; so that a list survives whole
// or, but for strays, not at all.
#include "tests/gc/herd.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <csetjmp>
#include <dlfcn.h>
#include <exception>
#include <functional>
#include <mutex>
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

namespace warren::gc_tests {
namespace {

struct Node {
  Node *next;
  uint64_t number;
};

constexpr size_t kNodes = 1000;
constexpr int kRounds = 4;

// Takes places in memory, each round others, that lists of earlier rounds have had: what a stray word points to is not
// the next list as well.
void take_places() {
  static Node *volatile taken;
  apart([] {
    for (int i = 0; i < 1500; ++i) {
      auto *node = static_cast<Node *>(wr_gc_malloc(sizeof(Node)));
      node->next = taken;
      taken = node;
    }
  });
}

// A list that only the result holds, and the herd of its nodes.
__attribute__((noinline)) Node *make_list(Herd &herd, size_t nodes = kNodes) {
  take_places();
  Node *first = nullptr;
  apart([&] {
    for (size_t i = 0; i < nodes; ++i) {
      auto *node = static_cast<Node *>(wr_gc_malloc(sizeof(Node)));
      node->next = first;
      node->number = i;
      first = node;
      herd.watch(node);
    }
  });
  return first;
}

// Overwrites what calls have left below the stack pointer.
__attribute__((noinline)) void scrub() {
  volatile char rubbish[32 << 10];
  for (volatile char &byte : rubbish) byte = 0;
}

// Calls put(list), collects, expects the list to live; then take(), and expects it to die. A stray word may hold the list of one
// round or another, so several are played, and some have to die.
template <class Put, class Take>
void keeps(Put put, Take take, int line = __builtin_LINE()) {
  int dead = 0;
  for (int round = 0; round < kRounds; ++round) {
    Herd herd;
    apart([&] { put(make_list(herd)); });
    scrub();
    wr_gc_collect();
    ASSERT_EQ(herd.alive(), herd.size()) << "round " << round;
    apart([&] { take(); });
    wr_gc_collect();
    dead += herd.nearly_all_dead();
  }
  EXPECT_GE(dead, kRounds / 3) << "called in line " << line;
}

// Never kept: as above, but dead at once.
template <class Put>
void keeps_not(Put put, int line = __builtin_LINE()) {
  int dead = 0;
  for (int round = 0; round < kRounds; ++round) {
    Herd herd;
    apart([&] { put(make_list(herd)); });
    scrub();
    wr_gc_collect();
    dead += herd.nearly_all_dead();
  }
  EXPECT_GE(dead, kRounds / 3) << "called in line " << line;
}

// volatile: or the compiler drops the stores, since nobody reads.
Node *volatile global_root;
Node *volatile initialized_root = reinterpret_cast<Node *>(16);
thread_local Node *thread_root;

TEST(Keeps, Global) {
  keeps([](Node *list) { global_root = list; }, [] { global_root = nullptr; });
  keeps([](Node *list) { initialized_root = list; }, [] { initialized_root = nullptr; });
}

TEST(Keeps, FunctionStatic) {
  [[maybe_unused]] static Node *volatile root;
  keeps([](Node *list) { root = list; }, [] { root = nullptr; });
}

TEST(Keeps, AnotherObject) {
  static void **volatile holder;
  for (size_t size : {16u, 24u, 80u, 1000u, 9000u, 40'000u, 3u << 20}) {
    keeps(
        [size](Node *list) {
          holder = static_cast<void **>(wr_gc_malloc(size));
          holder[size / sizeof(void *) - 1] = list;
        },
        [] { holder = nullptr; });
  }
}

TEST(Keeps, InteriorPointer) {
  [[maybe_unused]] static volatile uintptr_t root;
  keeps([](Node *list) { root = reinterpret_cast<uintptr_t>(list) + 13; }, [] { root = 0; });
  // Into a large object, and one past the end of an array.
  [[maybe_unused]] static char *volatile inside;
  for (size_t size : {128u, 5000u, 1u << 20}) {
    for (size_t offset : {size / 2, size - 1, size}) {
      keeps(
          [=](Node *list) {
            auto *large = static_cast<char *>(wr_gc_malloc(size));
            *reinterpret_cast<Node **>(large + 8) = list;
            inside = large + offset;
          },
          [] { inside = nullptr; });
    }
  }
}

TEST(Keeps, LocalVariable) {
  Herd herd;
  Node *volatile local = make_list(herd);
  wr_gc_collect();
  EXPECT_TRUE(herd.all_alive());
  EXPECT_NE(local, nullptr);
}

// The only pointer lies in a register that a call preserves, in another thread.
TEST(Keeps, Register) {
  Herd herd;
  std::atomic<bool> spinning{false}, over{false};
  Node *volatile handed = make_list(herd);
  std::thread thread([&] {
    Node *only = handed;
    asm volatile("" : "+r"(only));
    handed = nullptr;
    scrub();
    spinning = true;
    uintptr_t complement = ~reinterpret_cast<uintptr_t>(only);
    only = nullptr;
    asm volatile(
        "notq %0\n\tmovq %0, %%r14\n\txorl %k0, %k0\n"
        "1:\tpause\n\tcmpb $0, %1\n\tje 1b\n\tmovq %%r14, %0\n\txorl %%r14d, %%r14d"
        : "+r"(complement)
        : "m"(over)
        : "r14", "cc", "memory");
  });
  while (!spinning) std::this_thread::yield();
  for (int i = 0; i < 3; ++i) wr_gc_collect();
  EXPECT_TRUE(herd.all_alive());
  over = true;
  thread.join();
}

TEST(Keeps, VectorRegister) {
  Herd herd;
  std::atomic<bool> spinning{false}, over{false};
  Node *volatile handed = make_list(herd);
  std::thread thread([&] {
    uintptr_t complement = ~reinterpret_cast<uintptr_t>(handed);
    handed = nullptr;
    scrub();
    spinning = true;
    asm volatile(
        "notq %0\n\tmovq %0, %%xmm9\n\txorl %k0, %k0\n"
        "1:\tpause\n\tcmpb $0, %1\n\tje 1b\n\tmovq %%xmm9, %0"
        : "+r"(complement)
        : "m"(over)
        : "xmm9", "cc", "memory");
  });
  while (!spinning) std::this_thread::yield();
  for (int i = 0; i < 3; ++i) wr_gc_collect();
  EXPECT_TRUE(herd.all_alive());
  over = true;
  thread.join();
}

// A thread that waits while its stack or its thread-local storage holds the list.
class Waiting {
 public:
  template <class Hold>
  explicit Waiting(Hold hold)
      : thread_([this, hold] {
          hold([this] {
            std::unique_lock lock(mutex_);
            ready_ = true;
            changed_.notify_all();
            changed_.wait(lock, [this] { return over_; });
          });
        }) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ready_; });
  }
  void end() {
    {
      std::unique_lock lock(mutex_);
      over_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ready_ = false, over_ = false;
  std::thread thread_;
};

void keeps_in_thread(std::function<void(Node *, std::function<void()>)> hold) {
  static std::unique_ptr<Waiting> waiting;
  keeps(
      [hold](Node *list) {
        [[maybe_unused]] static Node *volatile handed = nullptr;
        handed = list;
        waiting = std::make_unique<Waiting>([hold](auto wait) {
          Node *mine = handed;
          handed = nullptr;
          hold(mine, wait);
        });
        scrub();
      },
      [] {
        waiting->end();
        waiting.reset();
      });
}

TEST(Keeps, ThreadsStack) {
  keeps_in_thread([](Node *list, std::function<void()> wait) {
    Node *volatile local = list;
    wait();
    EXPECT_NE(local, nullptr);
  });
}

TEST(Keeps, DeepStack) {
  keeps_in_thread([](Node *list, std::function<void()> wait) {
    std::function<void(int, Node *)> descend = [&](int depth, Node *given) {
      Node *volatile held = given;
      given = nullptr;
      volatile char frame[3000];
      frame[0] = 0;
      if (depth == 0) return wait();
      descend(depth - 1, nullptr);
      EXPECT_TRUE(depth != 500 || held != nullptr);
      frame[0] = frame[0];
    };
    descend(500, list);
  });
}

TEST(Keeps, ThreadLocal) {
  keeps_in_thread([](Node *list, std::function<void()> wait) {
    thread_root = list;
    list = nullptr;
    scrub();
    wait();
    thread_root = nullptr;
  });
}

TEST(Keeps, ThreadSpecific) {
  static std::vector<pthread_key_t> keys(100);  // more than the control block has room for
  for (pthread_key_t &key : keys) ASSERT_EQ(pthread_key_create(&key, nullptr), 0);
  for (pthread_key_t key : {keys.front(), keys.back()}) {
    keeps_in_thread([key](Node *list, std::function<void()> wait) {
      pthread_setspecific(key, list);
      list = nullptr;
      wait();
      pthread_setspecific(key, nullptr);
    });
  }
  for (pthread_key_t key : keys) pthread_key_delete(key);
}

struct Thrown {
  Node *list;
};

TEST(Keeps, ExceptionInFlight) {
  keeps_in_thread([](Node *list, std::function<void()> wait) {
    Thrown thrown{list};
    list = nullptr;
    try {
      try {
        throw Thrown(thrown);
      } catch (...) {
        thrown = {};
        wait();
        throw;
      }
    } catch (Thrown &caught) {
      caught.list = nullptr;
    }
  });
}

TEST(Keeps, ExceptionBehindAnother) {
  keeps_in_thread([](Node *list, std::function<void()> wait) {
    Thrown thrown{list};
    list = nullptr;
    try {
      throw Thrown(thrown);
    } catch (...) {
      thrown = {};
      try {
        throw std::runtime_error("another");
      } catch (std::runtime_error &) {
        wait();
      }
    }
  });
}

TEST(Keeps, ArgumentsOfAThread) {
  // Some of these threads have begun when a cycle comes, some have not.
  constexpr int kThreads = 60;
  std::atomic<int> broken{0};
  std::atomic<bool> over{false};
  std::thread collecting([&] {
    while (!over) wr_gc_collect();
  });
  for (int round = 0; round < 5; ++round) {
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      auto *node = static_cast<Node *>(wr_gc_malloc(sizeof(Node)));
      node->number = 12345;
      threads.emplace_back(
          [&](Node *mine) {
            for (int k = 0; k < 100; ++k) wr_gc_malloc(sizeof(Node));
            broken += mine->number != 12345;
          },
          node);
      node = nullptr;
    }
    for (std::thread &thread : threads) thread.join();
  }
  over = true;
  collecting.join();
  EXPECT_EQ(broken, 0);
}

TEST(Keeps, ArgumentOfAPlainThread) {
  struct Start {
    static void *run(void *argument) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      return reinterpret_cast<void *>(static_cast<Node *>(argument)->number);
    }
  };
  std::atomic<bool> over{false};
  std::thread collecting([&] {
    while (!over) wr_gc_collect();
  });
  int broken = 0;
  for (int round = 0; round < 20; ++round) {
    pthread_t threads[8];
    for (pthread_t &thread : threads) {
      auto *node = static_cast<Node *>(wr_gc_malloc(sizeof(Node)));
      node->number = 777;
      ASSERT_EQ(pthread_create(&thread, nullptr, Start::run, node), 0);
    }
    for (pthread_t &thread : threads) {
      void *result;
      pthread_join(thread, &result);
      broken += reinterpret_cast<uintptr_t>(result) != 777;
    }
  }
  over = true;
  collecting.join();
  EXPECT_EQ(broken, 0);
}

TEST(Keeps, AddedRoot) {
  // In the middle of a mapping: what lies beside a thread's own data may be read with it.
  constexpr size_t kBytes = 128 << 10;
  void *mapped = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  static void **memory;
  memory = static_cast<void **>(mapped) + kBytes / 16;
  keeps_not([](Node *list) { memory[999] = list; });
  wr_gc_add_root(memory, memory + 1000);
  keeps([](Node *list) { memory[999] = list; }, [] { memory[999] = nullptr; });
  wr_gc_remove_root(memory, memory + 10);
  keeps_not([](Node *list) { memory[9] = list; });
  keeps([](Node *list) { memory[10] = list; }, [] { memory[10] = nullptr; });
  wr_gc_remove_root(memory, memory + 1000);
  keeps_not([](Node *list) { memory[500] = list; });
}

TEST(Keeps, AddedRootThatIsMappedMemory) {
  static auto **memory = static_cast<void **>(mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  wr_gc_add_root(memory, reinterpret_cast<char *>(memory) + (1 << 20));
  mprotect(reinterpret_cast<char *>(memory) + 8192, 4096, PROT_NONE);  // no fault
  keeps([](Node *list) { memory[60'000] = list; }, [] { memory[60'000] = nullptr; });
  munmap(memory, 1 << 19);
  keeps([](Node *list) { memory[100'000] = list; }, [] { memory[100'000] = nullptr; });
  wr_gc_remove_root(memory, reinterpret_cast<char *>(memory) + (1 << 20));
  munmap(memory, 1 << 20);
}

using Place = uint64_t *();

TEST(Keeps, DataOfALibraryThatIsLoaded) {
  for (const char *place_name : {"data_word_of_module", "zero_word_of_module"}) {
    static void *library;
    static uint64_t *place;
    library = dlopen(MODULE_DIRECTORY "/libroot_module.so", RTLD_NOW);
    ASSERT_NE(library, nullptr) << dlerror();
    place = reinterpret_cast<Place *>(dlsym(library, place_name))();
    keeps([](Node *list) { *place = reinterpret_cast<uintptr_t>(list); }, [] { *place = 0; });
    Herd herd;
    apart([&] { *place = reinterpret_cast<uintptr_t>(make_list(herd)); });
    dlclose(library);
    wr_gc_collect();
    EXPECT_TRUE(herd.nearly_all_dead());
  }
}

TEST(Keeps, ThreadLocalOfALibrary) {
  void *library = dlopen(MODULE_DIRECTORY "/libroot_module.so", RTLD_NOW);
  ASSERT_NE(library, nullptr) << dlerror();
  auto *place = reinterpret_cast<Place *>(dlsym(library, "thread_word_of_module"));
  keeps_in_thread([place](Node *list, std::function<void()> wait) {
    *place() = reinterpret_cast<uintptr_t>(list);
    list = nullptr;
    wait();
    *place() = 0;
  });
  dlclose(library);
}

ucontext_t outside, inside;
Node *volatile handed_to_context;
void in_context() {
  Node *volatile held = handed_to_context;
  handed_to_context = nullptr;
  wr_gc_collect();
  wr_gc_collect();
  if (held->number != kNodes - 1) abort();
}

void run_on_a_stack(bool of_malloc) {
  constexpr size_t kBytes = 256 << 10;
  void *stack = of_malloc ? malloc(kBytes) : mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Herd herd;
  handed_to_context = make_list(herd);
  getcontext(&inside);
  inside.uc_stack.ss_sp = stack;
  inside.uc_stack.ss_size = kBytes;
  inside.uc_link = &outside;
  makecontext(&inside, in_context, 0);
  ASSERT_EQ(swapcontext(&outside, &inside), 0);
  EXPECT_TRUE(herd.size() == kNodes);
  of_malloc ? free(stack) : void(munmap(stack, kBytes));
}

TEST(Keeps, StackOfAContext) {
  run_on_a_stack(true);
  run_on_a_stack(false);
}

TEST(KeepsNot, PointerFreeObjects) {
  static void **volatile holder;
  for (size_t size : {16u, 100u, 40'000u}) {
    keeps_not([size](Node *list) {
      holder = static_cast<void **>(wr_gc_malloc_noscan(size));
      holder[0] = list;
    });
  }
}

TEST(KeepsNot, MallocsMemory) {
  const char *conf = getenv("WARREN_CONF");
  static void **block;
  for (size_t size : {16u, 500u, 100'000u, 2u << 20}) {
    block = static_cast<void **>(malloc(size));
    const auto put = [](Node *list) { block[1] = list; };
    if (conf != nullptr && strstr(conf, "malloc_roots=1") != nullptr) {
      keeps(put, [] { block[1] = nullptr; });
      keeps(put, [size] {
        free(block);
        block = static_cast<void **>(calloc(1, size));
      });
    } else {
      keeps_not(put);
    }
    free(block);
  }
}

// Which its thread has at hand for the next: what is in it holds nothing. Taken again, it does.
TEST(KeepsNot, LargeBlockThatIsFree) {
  static void **block;
  constexpr size_t kSize = 100'000;
  const char *conf = getenv("WARREN_CONF");
  const bool holds = conf != nullptr && strstr(conf, "malloc_roots=1") != nullptr;
  for (int i = 0; i < 3; ++i) free(malloc(kSize));
  int dead = 0;
  for (int round = 0; round < kRounds; ++round) {
    Herd herd;
    block = static_cast<void **>(malloc(kSize));
    apart([&] { block[1] = make_list(herd); });
    scrub();
    wr_gc_collect();
    if (holds) {
      EXPECT_EQ(herd.alive(), herd.size()) << "round " << round;
    }
    free(block);
    wr_gc_collect();
    dead += herd.nearly_all_dead();
  }
  EXPECT_GE(dead, kRounds / 3);
}

TEST(KeepsNot, DeadFrames) {
  keeps_not([](Node *list) {
    Node *volatile local = list;
    local = local->next;
  });
}

TEST(KeepsNot, DeadThreads) {
  keeps_not([](Node *list) {
    std::thread([list] { thread_root = list; }).join();
  });
}

TEST(KeepsNot, HiddenPointers) {
  [[maybe_unused]] static volatile uintptr_t hidden;
  keeps_not([](Node *list) { hidden = ~reinterpret_cast<uintptr_t>(list); });
  keeps_not([](Node *list) { hidden = reinterpret_cast<uintptr_t>(list) | uintptr_t{1} << 63; });
}

TEST(KeepsNot, Rings) {
  Herd herd;
  apart([&] {
    for (int i = 0; i < 1000; ++i) {
      Node *nodes[3];
      for (Node *&node : nodes) herd.watch(node = static_cast<Node *>(wr_gc_malloc(sizeof(Node))));
      for (int k = 0; k < 3; ++k) nodes[k]->next = nodes[(k + 1) % 3];
    }
    auto *self = static_cast<Node *>(wr_gc_malloc(sizeof(Node)));
    self->next = self;
    herd.watch(self);
  });
  wr_gc_collect();
  EXPECT_TRUE(herd.nearly_all_dead());
}

TEST(KeepsNot, FreedObjects) {
  static void **volatile holder;
  keeps_not([](Node *list) {
    holder = static_cast<void **>(wr_gc_malloc(64));
    holder[1] = list;
    wr_gc_free(holder);
  });
}

// Words that look like pointers, in their millions: they hold little, since most of the address space is not the heap's.
TEST(KeepsNot, RandomNumbers) {
  constexpr size_t kWords = 1 << 22;
  auto *numbers = static_cast<uint64_t *>(wr_gc_malloc(kWords * 8));
  uint64_t state = 88172645463325252u;
  for (size_t i = 0; i < kWords; ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    numbers[i] = state;
  }
  Herd herd;
  apart([&] { herd.watch_fresh(10'000, 64); });
  wr_gc_collect();
  EXPECT_TRUE(herd.nearly_all_dead());
  EXPECT_TRUE(wr_gc_is_object(numbers));
}

}  // namespace
}  // namespace warren::gc_tests
