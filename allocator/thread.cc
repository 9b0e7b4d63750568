// See thread.h.
#include "allocator/thread.h"

#include "allocator/base/intrusive_list.h"
#include "allocator/base/layout.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_process.h"
#include "allocator/base/own_threads.h"
#include "allocator/central.h"
#include "allocator/heap.h"
#include "allocator/large.h"
#include "allocator/metadata.h"

#include <algorithm>
#include <atomic>
#include <pthread.h>

namespace warren {

WARREN_TLS intptr_t cache_distance = 0;

namespace {

enum class ThreadState : uint8_t { kFresh, kActive, kBusy, kUncached };

struct ThreadSlot {
  Cache *cache;
  ThreadState state;
  ThreadState before_fork;
  uint8_t forks;  // that it is inside
};

WARREN_TLS ThreadSlot slot{};

constinit Mutex registry_lock(LockRank::kCacheRegistry);
IntrusiveList<Cache> registry GUARDED_BY(registry_lock);
metadata::FixedAllocator<Cache> cache_allocator;

// relaxed: statistics.
std::atomic<uint64_t> retired[kBinCount];

WARREN_SHOW_ADDRESS("caches", &registry);
WARREN_SHOW_ADDRESS("retired_frees", &retired);

uint32_t shard_caches[kShards] GUARDED_BY(registry_lock) = {};  // a thread comes to where the fewest are
std::atomic<size_t> caches{0};  // written under registry_lock. relaxed: a share that is a moment old serves as well

pthread_key_t exit_key;
bool have_exit_key = false;

// Signal handlers on this thread must see the words change in this order; nobody else looks.
void compiler_barrier() { std::atomic_signal_fence(std::memory_order_seq_cst); }

Cache *make_cache() {
  Cache *cache = cache_allocator.allocate();
  if (cache == nullptr) return nullptr;
  MutexLock guard(registry_lock);
  cache->set_up();  // with the table of the day: sampling.cc changes all of them under this lock
  cache->shard = static_cast<unsigned>(std::min_element(shard_caches, shard_caches + kShards) - shard_caches);
  ++shard_caches[cache->shard];
  registry.push_front(cache);
  caches.fetch_add(1, std::memory_order_relaxed);
  return cache;
}

// The cache is empty. Its figures move in one step, for who reads them all and for a process that is forked.
void retire_cache(Cache *cache) {
  {
    MutexLock guard(registry_lock);
    for (unsigned bin = 0; bin < kBinCount; ++bin) retired[bin].fetch_add(cache->frees[bin], std::memory_order_relaxed);
    large::count_retired(cache->large.figures());
    registry.remove(cache);
    --shard_caches[cache->shard];
    caches.fetch_sub(1, std::memory_order_relaxed);
  }
  cache_allocator.free(cache);
}

// A cache of another thread.
Cache *next_orphan() {
  MutexLock guard(registry_lock);
  for (Cache *cache = registry.front(); cache != nullptr; cache = cache->next) {
    if (cache != slot.cache) return cache;
  }
  return nullptr;
}

// Runs among the destructors of a thread's keys. Later frees (other destructors, and glibc itself) find
// no cache, so that nothing can be left behind.
void on_thread_exit(void *) {
  if (slot.state == ThreadState::kActive) {
    cache_distance = 0;
    slot.state = ThreadState::kBusy;
    compiler_barrier();
    slot.cache->flush();
    retire_cache(slot.cache);
    slot.cache = nullptr;
    compiler_barrier();
    slot.state = ThreadState::kUncached;
    // Whoever makes a thread has allocated, so the main thread of a process with several comes here.
    if (os_calls::thread_id() == os_process::id()) OwnThreads::main_ends();
  }
}

intptr_t distance_to(const Cache *cache) {
  // The options that want to see every block keep all threads on the slow paths.
  if (options.junk.load(std::memory_order_relaxed) != 0 || options.zero_on_free.load(std::memory_order_relaxed) != 0) return 0;
  return static_cast<intptr_t>(address_of(static_cast<const CacheHead *>(cache)) - address_of(&hot.empty));
}

}  // namespace

CacheAccess::CacheAccess() : reentered_(slot.state == ThreadState::kBusy) {
  if (reentered_) return;
  const ThreadState before = slot.state;
  slot.state = ThreadState::kBusy;
  cache_distance = 0;
  compiler_barrier();
  if (before == ThreadState::kActive) {
    cache_ = slot.cache;
  } else if (before == ThreadState::kFresh) {
    fresh_ = true;
    cache_ = slot.cache = make_cache();
  }
}

CacheAccess::~CacheAccess() {
  if (reentered_) return;
  compiler_barrier();
  slot.state = cache_ != nullptr ? ThreadState::kActive : fresh_ ? ThreadState::kFresh : ThreadState::kUncached;
  compiler_barrier();
  if (cache_ != nullptr) cache_distance = distance_to(cache_);
  // Only now, with the heap in working order: setting a key of a high number allocates.
  if (fresh_ && cache_ != nullptr && have_exit_key) pthread_setspecific(exit_key, cache_);
}

namespace threads {

void set_up() { have_exit_key = pthread_key_create(&exit_key, on_thread_exit) == 0; }

HeldCaches::HeldCaches() NO_THREAD_SAFETY_ANALYSIS { registry_lock.lock(); }
HeldCaches::~HeldCaches() NO_THREAD_SAFETY_ANALYSIS { registry_lock.unlock(); }

void HeldCaches::visit(void (*each)(Cache &cache, void *context), void *context) const NO_THREAD_SAFETY_ANALYSIS {
  for (Cache *cache = registry.front(); cache != nullptr; cache = cache->next) each(*cache, context);
}

size_t cache_count() {
  const size_t count = caches.load(std::memory_order_relaxed);
  return count == 0 ? 1 : count;
}

uint64_t retired_frees(unsigned bin) { return retired[bin].load(std::memory_order_relaxed); }

void count_uncached_frees(unsigned bin, uint64_t count) { retired[bin].fetch_add(count, std::memory_order_relaxed); }

WARREN_COLD void enter_fork() {
  if (slot.forks++ != 0) return;
  slot.before_fork = slot.state;
  slot.state = ThreadState::kBusy;
  cache_distance = 0;
  compiler_barrier();
}

WARREN_COLD void leave_fork() {
  compiler_barrier();
  if (--slot.forks != 0) return;
  slot.state = slot.before_fork;
  compiler_barrier();
  if (slot.state == ThreadState::kActive) cache_distance = distance_to(slot.cache);
}

WARREN_COLD unsigned forks() { return slot.forks; }

bool lock_registry_for_fork() { return registry_lock.lock_for_fork(); }
void unlock_registry_after_fork(bool in_child) { registry_lock.unlock_after_fork(in_child); }

WARREN_COLD void adopt_caches_in_child() {
  if (slot.state == ThreadState::kBusy) return;  // forked in a signal handler, inside the heap: leave all as it is
  Cache *orphan = next_orphan();
  if (orphan == nullptr) return;
  // First this thread's own blocks go where they can be told from the orphans' stale pointers.
  CacheAccess access;
  if (access.cache() != nullptr) access.cache()->flush();
  for (; orphan != nullptr; orphan = next_orphan()) {
    orphan->adopt();
    retire_cache(orphan);
  }
}

}  // namespace threads
}  // namespace warren
