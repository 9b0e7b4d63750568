// Where a stopped thread's roots are sought: gc/stacks.cc, by way of gc/world.h. Each test has a process of its own.
// Invariant: the word that is sought exists in the one place that the test is about.
#include "gc/world.h"

#include "tests/allocator/own_process.h"
#include "tests/gc/counters.h"
#include "tests/gc/hidden.h"

#include <atomic>
#include <csignal>
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <thread>
#include <ucontext.h>
#include <vector>

namespace warren::gc {
namespace {

// Runs hide(ready, stop) on a thread of its own, which hides a word, sets ready, and keeps it until stop.
template <class Hide>
void expect_found(const Hidden &hidden, Hide hide) {
  std::atomic<int> ready{0}, stop{0};
  EXPECT_FALSE(found_in_threads(hidden));
  std::thread thread([&] { hide(ready, stop); });
  await(ready, 1);
  EXPECT_TRUE(found_in_threads(hidden));
  stop = 1;
  thread.join();
}

#define HOLD_UNTIL_STOP                \
  "movl $1, (%[ready])\n"              \
  "1: pause\n\tcmpl $0, (%[stop])\n\t" \
  "je 1b\n\t"

TEST(Stacks, InAGeneralRegister) {
  in_own_process([] {
    const Hidden hidden(1);
    const uint64_t complement = hidden.complement();
    expect_found(hidden, [&](std::atomic<int> &ready, std::atomic<int> &stop) {
      asm volatile("movq %[from], %%r13\n\tnotq %%r13\n\t" HOLD_UNTIL_STOP "xorl %%r13d, %%r13d"
                   :
                   : [from] "m"(complement), [ready] "r"(&ready), [stop] "r"(&stop)
                   : "r13", "memory", "cc");
    });
  });
}

TEST(Stacks, InAVectorRegister) {
  in_own_process([] {
    const Hidden hidden(2);
    const uint64_t complement = hidden.complement();
    expect_found(hidden, [&](std::atomic<int> &ready, std::atomic<int> &stop) {
      asm volatile("movq %[from], %%r13\n\tnotq %%r13\n\tmovq %%r13, %%xmm7\n\txorl %%r13d, %%r13d\n\t" HOLD_UNTIL_STOP
                   "pxor %%xmm7, %%xmm7"
                   :
                   : [from] "m"(complement), [ready] "r"(&ready), [stop] "r"(&stop)
                   : "r13", "xmm7", "memory", "cc");
    });
  });
}

TEST(Stacks, InTheUpperHalfOfAVectorRegister) {
  if (!__builtin_cpu_supports("avx")) GTEST_SKIP();
  in_own_process([] {
    const Hidden hidden(3);
    const uint64_t complement = hidden.complement();
    expect_found(hidden, [&](std::atomic<int> &ready, std::atomic<int> &stop) {
      asm volatile("movq %[from], %%r13\n\tnotq %%r13\n\tmovq %%r13, %%xmm7\n\txorl %%r13d, %%r13d\n\t"
                   "vinsertf128 $1, %%xmm7, %%ymm7, %%ymm7\n\tvxorps %%xmm6, %%xmm6, %%xmm6\n\t"
                   "vinsertf128 $0, %%xmm6, %%ymm7, %%ymm7\n\t" HOLD_UNTIL_STOP "vzeroupper"
                   :
                   : [from] "m"(complement), [ready] "r"(&ready), [stop] "r"(&stop)
                   : "r13", "xmm6", "xmm7", "memory", "cc");
    });
  });
}

TEST(Stacks, InTheRedZone) {
  in_own_process([] {
    const Hidden hidden(4);
    const uint64_t complement = hidden.complement();
    expect_found(hidden, [&](std::atomic<int> &ready, std::atomic<int> &stop) {
      asm volatile("movq %[from], %%r13\n\tnotq %%r13\n\tsubq $1024, %%rsp\n\tmovq %%r13, -128(%%rsp)\n\t"
                   "xorl %%r13d, %%r13d\n\t" HOLD_UNTIL_STOP "movq $0, -128(%%rsp)\n\taddq $1024, %%rsp"
                   :
                   : [from] "r"(complement), [ready] "r"(&ready), [stop] "r"(&stop)
                   : "r13", "memory", "cc");
    });
  });
}

void hold(std::atomic<int> &ready, std::atomic<int> &stop) {
  ready = 1;
  while (stop == 0) sched_yield();
}

TEST(Stacks, OnTheStack) {
  in_own_process([] {
    const Hidden hidden(5);
    expect_found(hidden, [&](std::atomic<int> &ready, std::atomic<int> &stop) {
      volatile uint64_t place;
      hidden.put(&place);
      hold(ready, stop);
    });
  });
}

thread_local volatile uint64_t thread_word = 0;

TEST(Stacks, InStaticThreadLocalStorage) {
  in_own_process([] {
    const Hidden hidden(6);
    expect_found(hidden, [&](std::atomic<int> &ready, std::atomic<int> &stop) {
      hidden.put(&thread_word);
      hold(ready, stop);
    });
  });
}

using WordOfModule = uint64_t *();
WordOfModule *open_module(const char *function) {
  void *module = dlopen(MODULE_DIRECTORY "/libroot_module.so", RTLD_NOW);
  EXPECT_NE(module, nullptr) << dlerror();
  return reinterpret_cast<WordOfModule *>(dlsym(module, function));
}

TEST(Stacks, InAModulesThreadLocalStorage) {
  in_own_process([] {
    const Hidden hidden(7);
    ASSERT_TRUE(world::set_up());
    auto *word = open_module("thread_word_of_module");
    expect_found(hidden, [&](std::atomic<int> &ready, std::atomic<int> &stop) {
      hidden.put(word());
      hold(ready, stop);
    });
  });
}

TEST(Stacks, InThreadSpecificValues) {
  in_own_process([] {
    const Hidden low(8), high(9);
    pthread_key_t keys[100];
    for (pthread_key_t &key : keys) ASSERT_EQ(pthread_key_create(&key, nullptr), 0);
    const auto hide = [&](const Hidden &hidden, pthread_key_t key) {
      expect_found(hidden, [&](std::atomic<int> &ready, std::atomic<int> &stop) {
        volatile uint64_t place;
        hidden.put(&place);
        pthread_setspecific(key, reinterpret_cast<void *>(place));
        place = 0;
        hold(ready, stop);
      });
    };
    hide(low, keys[0]);
    hide(high, keys[99]);
  });
}

// What the first thread has, sought by another one.
TEST(Stacks, OfTheFirstThread) {
  in_own_process([] {
    const Hidden on_stack(10), local(11);
    std::atomic<bool> found_stack{false}, found_local{false};
    volatile uint64_t place;
    on_stack.put(&place);
    local.put(&thread_word);
    std::thread thread([&] {
      found_stack = found_in_threads(on_stack);
      found_local = found_in_threads(local);
    });
    thread.join();
    EXPECT_TRUE(found_stack);
    EXPECT_TRUE(found_local);
  });
}

TEST(Stacks, OfTheCaller) {
  in_own_process([] {
    const Hidden on_stack(12), local(13), later(14);
    volatile uint64_t place;
    on_stack.put(&place);
    local.put(&thread_word);
    EXPECT_TRUE(found_in_threads(on_stack));
    EXPECT_TRUE(found_in_threads(local));
    std::thread([&] {
      volatile uint64_t mine;
      later.put(&mine);
      EXPECT_TRUE(found_in_threads(later));
    }).join();
  });
}

std::atomic<int> *handler_ready, *handler_stop;
const Hidden *handler_hidden;

void hide_in_handler(int) {
  volatile uint64_t place;
  handler_hidden->put(&place);
  hold(*handler_ready, *handler_stop);
}

TEST(Stacks, OnAnAlternateStackAndTheOneBelow) {
  in_own_process([] {
    struct sigaction action {};
    action.sa_handler = hide_in_handler;
    action.sa_flags = SA_ONSTACK;
    ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
    const Hidden above(15), below(16);
    handler_hidden = &above;
    std::atomic<int> ready{0}, stop{0};
    handler_ready = &ready;
    handler_stop = &stop;
    std::thread thread([&] {
      std::vector<char> memory(1 << 16);
      stack_t stack{memory.data(), 0, memory.size()};
      ASSERT_EQ(sigaltstack(&stack, nullptr), 0);
      volatile uint64_t place;
      below.put(&place);
      raise(SIGUSR1);
      stack.ss_flags = SS_DISABLE;
      sigaltstack(&stack, nullptr);
    });
    await(ready, 1);
    EXPECT_TRUE(found_in_threads(above));
    EXPECT_TRUE(found_in_threads(below));
    stop = 1;
    thread.join();
  });
}

// The thread has an alternate stack, but was interrupted on its own: the handler of the stop runs elsewhere.
TEST(Stacks, InARegisterWithAnAlternateStack) {
  in_own_process([] {
    const Hidden hidden(17), on_stack(18);
    const uint64_t complement = hidden.complement();
    expect_found(hidden, [&](std::atomic<int> &ready, std::atomic<int> &stop) {
      static char memory[1 << 16];
      const stack_t stack{memory, 0, sizeof memory};
      ASSERT_EQ(sigaltstack(&stack, nullptr), 0);
      asm volatile("movq %[from], %%r13\n\tnotq %%r13\n\t" HOLD_UNTIL_STOP "xorl %%r13d, %%r13d"
                   :
                   : [from] "m"(complement), [ready] "r"(&ready), [stop] "r"(&stop)
                   : "r13", "memory", "cc");
    });
  });
}

ucontext_t thread_context, other_context;

void run_on_other_stack() {
  volatile uint64_t place;
  handler_hidden->put(&place);
  hold(*handler_ready, *handler_stop);
  swapcontext(&other_context, &thread_context);
}

void on_another_stack(char *memory, size_t bytes) {
  const Hidden above(19), below(20);
  handler_hidden = &above;
  std::atomic<int> ready{0}, stop{0};
  handler_ready = &ready;
  handler_stop = &stop;
  std::thread thread([&] {
    getcontext(&other_context);
    other_context.uc_stack = {memory, 0, bytes};
    makecontext(&other_context, run_on_other_stack, 0);
    volatile uint64_t place;
    below.put(&place);
    swapcontext(&thread_context, &other_context);
  });
  await(ready, 1);
  EXPECT_TRUE(found_in_threads(above));
  EXPECT_TRUE(found_in_threads(below));
  stop = 1;
  thread.join();
}

void *map(size_t bytes, int protection) {
  return mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

TEST(Stacks, OnAContextsStackFromMalloc) {
  in_own_process([] {
    std::vector<char> memory(1 << 16);
    on_another_stack(memory.data(), memory.size());
  });
}

TEST(Stacks, OnAContextsStackBetweenGuards) {
  in_own_process([] {
    constexpr size_t kBytes = 1 << 16;
    auto *memory = static_cast<char *>(map(3 * kBytes, PROT_NONE));
    ASSERT_EQ(mprotect(memory + kBytes, kBytes, PROT_READ | PROT_WRITE), 0);
    on_another_stack(memory + kBytes, kBytes);
  });
}

// Guards that are no mappings of their own, in the middle of a pool of stacks.
TEST(Stacks, OnAContextsStackBelowAGuardOfPages) {
  in_own_process([] {
    constexpr size_t kBytes = 1 << 16;
    constexpr int kGuardInstall = 102;
    auto *memory = static_cast<char *>(map(3 * kBytes, PROT_READ | PROT_WRITE));
    if (madvise(memory + kBytes, 4096, kGuardInstall) != 0) GTEST_SKIP();
    on_another_stack(memory, kBytes);
  });
}

// As the scheduler tells of its stacks: one that a thread runs on, and one that is parked.
char fiber_stack[1 << 16], parked_stack[4096];

TEST(Stacks, OfFibers) {
  in_own_process([] {
    static const world::FiberStacks fibers{
        [](uintptr_t sp, uintptr_t *low, uintptr_t *high) {
          *low = reinterpret_cast<uintptr_t>(fiber_stack);
          *high = *low + sizeof fiber_stack;
          return sp >= *low && sp < *high;
        },
        [](uintptr_t, uintptr_t *, uintptr_t *) { return false; },
        [](VisitRange visit, void *context) {
          const auto low = reinterpret_cast<uintptr_t>(parked_stack);
          visit(low, low + sizeof parked_stack, context);
        },
        nullptr};
    const Hidden parked(22);
    parked.put(reinterpret_cast<uint64_t *>(parked_stack + 1024));
    EXPECT_FALSE(found_in_threads(parked));
    world::set_fiber_stacks(&fibers);
    EXPECT_TRUE(found_in_threads(parked));
    on_another_stack(fiber_stack, sizeof fiber_stack);
    world::set_fiber_stacks(nullptr);
    EXPECT_FALSE(found_in_threads(parked));
  });
}

size_t resident_pages(char *memory, size_t bytes) {
  std::vector<unsigned char> pages(bytes / 4096);
  EXPECT_EQ(mincore(memory, bytes, pages.data()), 0);
  size_t count = 0;
  for (const unsigned char page : pages) count += page & 1;
  return count;
}

TEST(Stacks, UntouchedPagesStayUntouched) {
  in_own_process([] {
    constexpr size_t kBytes = 8 << 20;
    auto *memory = static_cast<char *>(map(kBytes, PROT_READ | PROT_WRITE));
    on_another_stack(memory, kBytes / 2);
    EXPECT_LT(resident_pages(memory, kBytes), 20u);
  });
}

}  // namespace
}  // namespace warren::gc
