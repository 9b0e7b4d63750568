// See mark_work.h.
#include "gc/mark_work.h"

#include "allocator/metadata.h"

#include <atomic>

namespace warren::gc::mark_work {
namespace {

constinit Mutex lock(LockRank::kMarkWork);
MarkBuffer *full GUARDED_BY(lock) = nullptr;
MarkBuffer *empty GUARDED_BY(lock) = nullptr;
uint32_t active GUARDED_BY(lock) = 0;

// Hints, for who looks without the lock. relaxed: they look again.
std::atomic<bool> has_full{false};
std::atomic<bool> overflowed{false};

}  // namespace

MarkBuffer *get_empty() {
  {
    MutexLock guard(lock);
    if (MarkBuffer *buffer = empty; buffer != nullptr) {
      empty = buffer->next;
      return buffer;
    }
  }
  MutexLock guard(metadata::lock);
  auto *buffer = static_cast<MarkBuffer *>(metadata::allocate(sizeof(MarkBuffer), alignof(MarkBuffer)));
  return buffer;
}

MarkBuffer *get_full() {
  if (!has_full.load(std::memory_order_relaxed)) return nullptr;
  MutexLock guard(lock);
  MarkBuffer *buffer = full;
  if (buffer != nullptr) full = buffer->next;
  has_full.store(full != nullptr, std::memory_order_relaxed);
  return buffer;
}

void put_empty(MarkBuffer *buffer) {
  MutexLock guard(lock);
  buffer->count = 0;
  buffer->next = empty;
  empty = buffer;
}

void put_full(MarkBuffer *buffer) {
  MutexLock guard(lock);
  buffer->next = full;
  full = buffer;
  has_full.store(true, std::memory_order_relaxed);
}

bool any_full() { return has_full.load(std::memory_order_relaxed); }

void note_overflow() { overflowed.store(true, std::memory_order_relaxed); }
bool take_overflow() { return overflowed.exchange(false, std::memory_order_relaxed); }

void enter() {
  MutexLock guard(lock);
  ++active;
}

void leave() {
  MutexLock guard(lock);
  --active;
}

bool all_done() {
  MutexLock guard(lock);
  return active == 0 && full == nullptr;
}

void lock_for_fork() NO_THREAD_SAFETY_ANALYSIS { lock.lock_for_fork(); }

void unlock_after_fork(bool in_child) NO_THREAD_SAFETY_ANALYSIS {
  if (!in_child) return lock.unlock_after_fork(in_child);
  while (MarkBuffer *buffer = full) {
    full = buffer->next;
    buffer->count = 0;
    buffer->next = empty;
    empty = buffer;
  }
  has_full.store(false, std::memory_order_relaxed);
  overflowed.store(false, std::memory_order_relaxed);
  active = 0;
  lock.unlock_after_fork(in_child);
}

}  // namespace warren::gc::mark_work
