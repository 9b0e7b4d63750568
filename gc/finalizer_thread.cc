// See finalizer_thread.h.
#include "gc/finalizer_thread.h"

#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/own_threads.h"
#include "gc/specials.h"
#include "gc/world.h"

#include <atomic>
#include <cstring>
#include <pthread.h>

namespace warren::gc::finalizer_thread {
namespace {

// Counts wake()s. The thread sleeps on the value it has seen: release in wake() pairs with acquire in run().
std::atomic<uint32_t> wakes{0};
std::atomic<bool> started{false};  // relaxed: the cycle's thread sets it, and takes it back; the thread that has been started, at its end

OwnThread own;

WARREN_NOINLINE void run_ready() {
  specials::Ready ready;
  while (specials::take_ready(ready)) ready.function(at_address<void>(ready.object), ready.argument);
}

// Overwrites what the program's functions have left below. While the thread sleeps, its stack is a root as any other: an object
// whose finalizer was the last to run would stay, and what waits for its end with it.
WARREN_NOINLINE void forget_dead_frames() {
  constexpr size_t kBytes = size_t{32} << 10;  // what lies deeper is rarely reached
  char dead[kBytes];
  memset(dead, 0, sizeof dead);
  asm volatile("" : : "r"(dead) : "memory");
}

// A finalizer has called pthread_exit. The next cycle that finds finalizers ready starts another thread for them.
void give_up(void *) {
  own.end();
  started.store(false, std::memory_order_relaxed);
}

void *run(void *) {
  world::block_signals_but_the_stop();
  pthread_setname_np(pthread_self(), "warren-final");
  own.begin();
  pthread_cleanup_push(give_up, nullptr);
  for (;;) {
    own.work();
    const uint32_t seen = wakes.load(std::memory_order_acquire);
    run_ready();
    forget_dead_frames();
    own.rest();
    os_calls::futex_wait(os_calls::futex_word(wakes), seen);
  }
  pthread_cleanup_pop(0);
  return nullptr;
}

}  // namespace

void wake() {
  if (!started.load(std::memory_order_relaxed)) {
    OwnThreads::announce();
    started.store(true, std::memory_order_relaxed);
    pthread_t thread;
    if (pthread_create(&thread, nullptr, run, nullptr) != 0) return started.store(false, std::memory_order_relaxed);
    pthread_detach(thread);
  }
  own.call();
  wakes.fetch_add(1, std::memory_order_release);
  os_calls::futex_wake(os_calls::futex_word(wakes), 1);
}

void reset_in_child() { started.store(false, std::memory_order_relaxed); }

}  // namespace warren::gc::finalizer_thread
