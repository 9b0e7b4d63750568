// See mark_workers.h.
#include "gc/mark_workers.h"

#include "allocator/base/os_calls.h"
#include "gc/assist.h"
#include "gc/world.h"

#include <atomic>

namespace warren::gc::mark_workers {
namespace {

constexpr unsigned kMost = 256;

// Sleeping for the next cycle, and for those who still mark.
std::atomic<uint32_t> round{0};    // odd: marking is on. release in wake() and rest(); pairs with the acquires of the workers
std::atomic<uint32_t> marking{0};  // workers that may be. release when one is done; pairs with the acquire in rest()

std::atomic<unsigned> wanted{0};  // relaxed: read after `round`
std::atomic<uint64_t> nanoseconds{0};  // relaxed: read after `marking`
unsigned made = 0;                     // the cycle's thread's

// seq_cst, both this and rest(): a worker that comes late sees that the round is over, or rest() sees the worker.
bool join(uint32_t current) {
  marking.fetch_add(1, std::memory_order_seq_cst);
  if (round.load(std::memory_order_seq_cst) == current) return true;
  if (marking.fetch_sub(1, std::memory_order_release) == 1) os_calls::futex_wake(os_calls::futex_word(marking), 1);
  return false;
}

void body(void *argument) {
  const auto number = static_cast<unsigned>(reinterpret_cast<uintptr_t>(argument));
  for (uint32_t seen = round.load(std::memory_order_acquire);; seen = round.load(std::memory_order_acquire)) {
    if (seen % 2 == 0 || number >= wanted.load(std::memory_order_relaxed) || !join(seen)) {
      os_calls::futex_wait(os_calls::futex_word(round), seen);
      continue;
    }
    const uint64_t before = os_calls::thread_time();
    while (round.load(std::memory_order_relaxed) == seen) assist::mark_in_background();
    nanoseconds.fetch_add(os_calls::thread_time() - before, std::memory_order_relaxed);
    if (marking.fetch_sub(1, std::memory_order_release) == 1) os_calls::futex_wake(os_calls::futex_word(marking), 1);
  }
}

}  // namespace

void wake(unsigned count) {
  if (count > kMost) count = kMost;
  nanoseconds.store(0, std::memory_order_relaxed);
  while (made < count) {
    if (!world::start_collector_thread(body, reinterpret_cast<void *>(uintptr_t{made}), "warren-mark")) break;
    ++made;
  }
  if (made == 0) return;
  wanted.store(count, std::memory_order_relaxed);
  round.fetch_add(1, std::memory_order_release);
  os_calls::futex_wake(os_calls::futex_word(round), INT32_MAX);
}

void rest() {
  if (round.load(std::memory_order_relaxed) % 2 == 0) return;
  round.fetch_add(1, std::memory_order_seq_cst);
  for (uint32_t still; (still = marking.load(std::memory_order_seq_cst)) != 0;) {
    os_calls::futex_wait(os_calls::futex_word(marking), still);
  }
}

unsigned count() { return wanted.load(std::memory_order_relaxed); }

uint64_t time() { return nanoseconds.load(std::memory_order_relaxed); }

void reset_in_child() {
  made = 0;
  marking.store(0, std::memory_order_relaxed);
  if (round.load(std::memory_order_relaxed) % 2 != 0) round.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace warren::gc::mark_workers
