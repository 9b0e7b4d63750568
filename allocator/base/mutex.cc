// Three-state futex mutex: free, locked, locked with sleepers. See mutex.h.
#include "allocator/base/mutex.h"

#include "allocator/base/check.h"
#include "allocator/base/os_calls.h"

namespace warren {
namespace {

// Critical sections are some hundred nanoseconds, but on few cores the owner may be off its CPU.
// More: burns the quantum of the owner. Fewer: a futex call, some microseconds, for a short wait.
constexpr int kSpins = 60;

void *self() { return __builtin_thread_pointer(); }

}  // namespace

void Mutex::acquire() {
  uint32_t expected = kFree;
  // acquire: pairs with the release in unlock().
  if (!word_.compare_exchange_strong(expected, kLocked, std::memory_order_acquire, std::memory_order_relaxed)) {
    lock_slow();
  }
  owner_.store(self(), std::memory_order_relaxed);
  if constexpr (kDebug) lock_rank::note_acquired(rank_);
}

void Mutex::lock() NO_THREAD_SAFETY_ANALYSIS {
  if constexpr (kDebug) lock_rank::check_acquire(rank_);
  acquire();
}

void Mutex::lock_slow() {
  for (int spin = 0; spin < kSpins; ++spin) {
    uint32_t expected = kFree;
    if (word_.load(std::memory_order_relaxed) == kFree &&  // relaxed: only a hint to try the exchange
        word_.compare_exchange_weak(expected, kLocked, std::memory_order_acquire, std::memory_order_relaxed)) {
      return;
    }
    __builtin_ia32_pause();
  }
  while (word_.exchange(kContended, std::memory_order_acquire) != kFree) {
    os_calls::futex_wait(reinterpret_cast<const uint32_t *>(&word_), kContended);
  }
}

void Mutex::unlock() NO_THREAD_SAFETY_ANALYSIS {
  if constexpr (kDebug) lock_rank::note_released(rank_);
  owner_.store(nullptr, std::memory_order_relaxed);
  // release: pairs with the acquires in acquire() and lock_slow().
  if (word_.exchange(kFree, std::memory_order_release) == kContended) {
    os_calls::futex_wake(reinterpret_cast<const uint32_t *>(&word_), 1);
  }
}

bool Mutex::held_by_me() const { return owner_.load(std::memory_order_relaxed) == self(); }

bool Mutex::lock_for_fork() NO_THREAD_SAFETY_ANALYSIS {
  if (held_by_me()) return false;
  acquire();
  return true;
}

void Mutex::unlock_after_fork() NO_THREAD_SAFETY_ANALYSIS { unlock(); }

void Mutex::reset_in_child() NO_THREAD_SAFETY_ANALYSIS {
  if constexpr (kDebug) lock_rank::note_released(rank_);
  owner_.store(nullptr, std::memory_order_relaxed);
  word_.store(kFree, std::memory_order_relaxed);  // the child has one thread
}

}  // namespace warren
