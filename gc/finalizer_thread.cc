// See finalizer_thread.h.
#include "gc/finalizer_thread.h"

#include "allocator/base/os_calls.h"
#include "gc/specials.h"
#include "gc/world.h"

#include <atomic>
#include <pthread.h>

namespace warren::gc::finalizer_thread {
namespace {

// Counts wake()s. The thread sleeps on the value it has seen: release in wake() pairs with acquire in run().
std::atomic<uint32_t> wakes{0};
std::atomic<bool> started{false};  // relaxed: only the cycle's thread writes it

void run_ready() {
  specials::Ready ready;
  while (specials::take_ready(ready)) {
    ready.function(at_address<void>(ready.object), ready.argument);
    ready = {};  // nothing on this stack keeps the object any longer
  }
}

void *run(void *) {
  world::block_signals_but_the_stop();
  pthread_setname_np(pthread_self(), "warren-final");
  for (;;) {
    const uint32_t seen = wakes.load(std::memory_order_acquire);
    run_ready();
    os_calls::futex_wait(os_calls::futex_word(wakes), seen);
  }
  return nullptr;
}

}  // namespace

void wake() {
  if (!started.load(std::memory_order_relaxed)) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, run, nullptr) != 0) return;
    pthread_detach(thread);
    started.store(true, std::memory_order_relaxed);
  }
  wakes.fetch_add(1, std::memory_order_release);
  os_calls::futex_wake(os_calls::futex_word(wakes), 1);
}

void reset_in_child() { started.store(false, std::memory_order_relaxed); }

}  // namespace warren::gc::finalizer_thread
