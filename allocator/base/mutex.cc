// See mutex.h for the word's three states: free, locked, locked with sleepers.
#include "allocator/base/mutex.h"

#include "allocator/base/check.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/stop_gate.h"

namespace warren {
namespace {

// Critical sections are some hundred nanoseconds, but on few cores the owner may be off its CPU.
// More: burns the quantum of the owner. Fewer: a futex call, some microseconds, for a short wait.
constexpr int kSpins = 60;

constexpr uint32_t kSleepers = 1;

// Thread control blocks are 64-byte aligned and alive as long as their threads: 31 bits tell apart those
// within 128 GiB of address space, which is where thread stacks lie. Never 0.
uint32_t self() {
  const auto identity = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(__builtin_thread_pointer()) >> 6) << 1;
  return identity != 0 ? identity : 2;
}

}  // namespace

void Mutex::acquire() {
  if (is_gated(rank_)) stop_gate::enter();
  const uint32_t mine = self();
  uint32_t expected = 0;
  // acquire: pairs with the release in unlock().
  if (!word_.compare_exchange_strong(expected, mine, std::memory_order_acquire, std::memory_order_relaxed)) lock_slow(mine);
  if constexpr (kDebug) lock_rank::note_acquired(rank_);
}

void Mutex::lock() NO_THREAD_SAFETY_ANALYSIS {
  if constexpr (kDebug) lock_rank::check_acquire(rank_);
  acquire();
}

void Mutex::lock_slow(uint32_t mine) {
  // All loads are relaxed: they only choose what the exchange, which acquires, is to try.
  for (int spin = 0; spin < kSpins; ++spin) {
    uint32_t expected = 0;
    if (word_.load(std::memory_order_relaxed) == 0 &&
        word_.compare_exchange_weak(expected, mine, std::memory_order_acquire, std::memory_order_relaxed)) {
      return;
    }
    __builtin_ia32_pause();
  }
  for (;;) {
    uint32_t seen = word_.load(std::memory_order_relaxed);
    if (seen == 0) {
      // Others may sleep still: who has slept takes the lock as one with sleepers.
      if (word_.compare_exchange_weak(seen, mine | kSleepers, std::memory_order_acquire, std::memory_order_relaxed)) return;
      continue;
    }
    if ((seen & kSleepers) == 0 &&
        !word_.compare_exchange_weak(seen, seen | kSleepers, std::memory_order_relaxed, std::memory_order_relaxed)) {
      continue;
    }
    os_calls::futex_wait(os_calls::futex_word(word_), seen | kSleepers);
  }
}

void Mutex::unlock() NO_THREAD_SAFETY_ANALYSIS {
  if constexpr (kDebug) lock_rank::note_released(rank_);
  // release: pairs with the acquires in acquire() and lock_slow().
  if ((word_.exchange(0, std::memory_order_release) & kSleepers) != 0) {
    os_calls::futex_wake(os_calls::futex_word(word_), 1);
  }
  if (is_gated(rank_)) stop_gate::leave();
}

bool Mutex::held_by_me() const { return (word_.load(std::memory_order_relaxed) & ~kSleepers) == self(); }

bool Mutex::lock_for_fork() NO_THREAD_SAFETY_ANALYSIS {
  if (held_by_me()) return false;
  acquire();
  return true;
}

void Mutex::unlock_after_fork(bool in_child) NO_THREAD_SAFETY_ANALYSIS {
  if (!in_child) return unlock();
  if constexpr (kDebug) lock_rank::note_released(rank_);
  word_.store(0, std::memory_order_relaxed);  // held by the id that the one thread had in the parent
  if (is_gated(rank_)) stop_gate::leave();
}

}  // namespace warren
