// A thread's relation to the heap: whether it has a cache, and whether it is inside the heap right now.
// Callers: heap_slow.cc for each slow operation; fork.cc; stats.cc.
//
//   state      cache_distance  meaning
//   kFresh     0               no cache yet: the first slow operation makes one
//   kActive    to the cache    the fast paths work
//   kBusy      0               inside a slow operation, or a fork. A signal handler that calls malloc now finds no
//                              cache, comes to the slow path too, and is served from the emergency pool
//   kUncached  0               the thread's destructors have run: straight to the centrals
//
// Invariant: the words are written by their own thread (and its signal handlers, which restore them).
#pragma once

#include "allocator/cache.h"

namespace warren {

class CacheAccess {
 public:
  CacheAccess();
  ~CacheAccess();
  CacheAccess(const CacheAccess &) = delete;
  CacheAccess &operator=(const CacheAccess &) = delete;

  // True in a signal handler that interrupted this thread inside the heap: touch nothing.
  bool reentered() const { return reentered_; }

  // nullptr: the thread has no cache; use the centrals.
  Cache *cache() const { return cache_; }

 private:
  bool reentered_;
  bool fresh_ = false;
  Cache *cache_ = nullptr;
};

namespace threads {

// Registers the destructor that retires a thread's cache. Once, while the heap is set up.
void set_up();

// While it lives no cache comes or goes: the figures of each are its own or with the retired, never in both or in neither.
class HeldCaches {
 public:
  HeldCaches();
  ~HeldCaches();
  HeldCaches(const HeldCaches &) = delete;
  HeldCaches &operator=(const HeldCaches &) = delete;
  void visit(void (*each)(Cache &cache, void *context), void *context) const;
};

inline void for_each_cache(void (*each)(Cache &cache, void *context), void *context) { HeldCaches().visit(each, context); }

// Caches there are, at least 1.
size_t cache_count();

// Frees counted by caches that are gone, by bin.
uint64_t retired_frees(unsigned bin);

// Frees without a cache.
void count_uncached_frees(unsigned bin, uint64_t count);

// For fork. While this thread is between these two it has no cache, like one inside a slow operation: the heap's locks are its own, and
// what its signal handlers ask for is to wait for none of them. They nest, for a handler that forks.
void enter_fork();
void leave_fork();
unsigned forks();  // that this thread is inside

// The child has one thread: all caches but its own are emptied and dropped.
bool lock_registry_for_fork();
void unlock_registry_after_fork(bool in_child);
void adopt_caches_in_child();

}  // namespace threads
}  // namespace warren
