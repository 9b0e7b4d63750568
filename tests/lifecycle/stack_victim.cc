// Uses the heap on the smallest stacks a thread may have, and measures how deep its paths go.
// Run by lifecycle_test.
// Invariant: the deepest path of malloc, realloc or free takes less than kDeepestAllowed bytes of stack, so
// a thread of PTHREAD_STACK_MIN, or a handler on a small alternate stack, can use the heap.
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "victim.h"

namespace {

constexpr std::size_t kDeepestAllowed = 6 * 1024;
constexpr std::size_t kPaintedStack = 256 * 1024;
constexpr unsigned char kPaint = 0xa5;

// Every path there is: fresh and reused blocks, all classes, page runs, huge, growing and shrinking in
// place and by moving, aligned, zeroed; and frees in an order that empties spans.
void walk_all_paths() {
  constexpr int kCount = 600;
  auto **const blocks = static_cast<void **>(victim::take(kCount * sizeof(void *)));
  for (std::size_t size = 1; size <= (std::size_t{1} << 26); size += size / 3 + 1) {
    void *block = victim::take(size);
    VICTIM_CHECK(block != nullptr);
    static_cast<volatile char *>(block)[size - 1] = 1;
    block = victim::resize(block, size + size / 2 + 1);
    block = victim::resize(block, size / 4 + 1);
    VICTIM_CHECK(block != nullptr);
    victim::give_back(block);
    block = victim::take_zeroed(1, size);
    VICTIM_CHECK(block != nullptr);
    victim::give_back(block);
  }
  for (int i = 0; i < kCount; ++i) blocks[i] = victim::take(static_cast<std::size_t>(i) * 67 + 1);
  for (int i = 0; i < kCount; i += 2) victim::give_back(blocks[i]);
  for (int i = 1; i < kCount; i += 2) victim::give_back(blocks[i]);
  for (std::size_t alignment = 16; alignment <= (1U << 22); alignment *= 4) {
    void *(*volatile aligned)(std::size_t, std::size_t) = &memalign;
    void *block = aligned(alignment, alignment / 2 + 5);
    VICTIM_CHECK(block != nullptr);
    victim::give_back(block);
  }
  victim::give_back(blocks);
}

void *walk_on_thread(void *raw) {
  walk_all_paths();
  return raw;
}

void smallest_stack() {
  walk_all_paths();  // binds the symbols: the loader's own depth is not the allocator's
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  VICTIM_CHECK(pthread_attr_setstacksize(&attributes, static_cast<std::size_t>(PTHREAD_STACK_MIN)) == 0);
  for (int i = 0; i < 50; ++i) {
    pthread_t thread;
    VICTIM_CHECK(pthread_create(&thread, &attributes, walk_on_thread, nullptr) == 0);
    pthread_join(thread, nullptr);
  }
}

// The first use of the heap in the process happens on a small stack.
void smallest_stack_first() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  VICTIM_CHECK(pthread_attr_setstacksize(&attributes, static_cast<std::size_t>(PTHREAD_STACK_MIN)) == 0);
  pthread_t threads[8];
  for (auto &thread : threads) VICTIM_CHECK(pthread_create(&thread, &attributes, walk_on_thread, nullptr) == 0);
  for (auto thread : threads) pthread_join(thread, nullptr);
}

struct Measure {
  unsigned char *stack;
  std::size_t depth_of_call = 0;  // from the frame that calls to the lowest byte written
};

// The lowest byte of the stack whose paint is gone.
const unsigned char *lowest_write(const unsigned char *stack, const unsigned char *top) {
  while (stack < top && *stack == kPaint) ++stack;
  return stack;
}

void *measure_on_thread(void *raw) {
  auto *measure = static_cast<Measure *>(raw);
  const auto *here = static_cast<const unsigned char *>(__builtin_frame_address(0));
  walk_all_paths();
  measure->depth_of_call = static_cast<std::size_t>(here - lowest_write(measure->stack, here));
  return nullptr;
}

void painted_stack() {
  walk_all_paths();
  void *stack = mmap(nullptr, kPaintedStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  VICTIM_CHECK(stack != MAP_FAILED);
  std::size_t deepest = 0;
  std::size_t deepest_with_exit = 0;
  for (int i = 0; i < 20; ++i) {
    std::memset(stack, kPaint, kPaintedStack);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    VICTIM_CHECK(pthread_attr_setstack(&attributes, stack, kPaintedStack) == 0);
    Measure measure{static_cast<unsigned char *>(stack)};
    pthread_t thread;
    VICTIM_CHECK(pthread_create(&thread, &attributes, measure_on_thread, &measure) == 0);
    pthread_join(thread, nullptr);
    const auto *top = measure.stack + kPaintedStack;
    const auto whole = static_cast<std::size_t>(top - lowest_write(measure.stack, top));
    if (measure.depth_of_call > deepest) deepest = measure.depth_of_call;
    if (whole > deepest_with_exit) deepest_with_exit = whole;
  }
  std::printf("deepest path: %zu bytes; whole thread with its start and exit: %zu bytes\n", deepest,
              deepest_with_exit);
  std::fflush(stdout);
  VICTIM_CHECK(deepest > 0);
  VICTIM_CHECK(deepest < kDeepestAllowed);
}

// A handler on the smallest legal alternate stack releases and takes memory.
void *g_for_handler;
volatile sig_atomic_t g_handled;
void handler_on_small_stack(int) {
  victim::check_and_free(g_for_handler);
  victim::give_back(victim::take(50'000));
  g_for_handler = victim::make_cookie(3'000, 2);
  g_handled = g_handled + 1;
}
void small_alternate_stack() {
  walk_all_paths();
  const auto bytes = static_cast<std::size_t>(sysconf(_SC_MINSIGSTKSZ)) + kDeepestAllowed;
  stack_t stack{};
  stack.ss_size = bytes;
  stack.ss_sp = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  VICTIM_CHECK(sigaltstack(&stack, nullptr) == 0);
  struct sigaction action {};
  action.sa_handler = handler_on_small_stack;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  g_for_handler = victim::make_cookie(3'000, 2);
  for (int i = 0; i < 1'000; ++i) raise(SIGUSR1);
  VICTIM_CHECK(g_handled == 1'000);
}

constexpr victim::Scenario kScenarios[] = {
    {"smallest_stack", smallest_stack},
    {"smallest_stack_first", smallest_stack_first},
    {"painted_stack", painted_stack},
    {"small_alternate_stack", small_alternate_stack},
};

}  // namespace

int main(int argc, char **argv) { return victim::play(argc, argv, kScenarios); }
