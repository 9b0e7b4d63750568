// Watching allocations go by: for the heap profile, which sees one in so many bytes, and for who wants each block.
// While nobody watches, nothing of this runs: the tables from sizes to classes that the fast paths read are then as always.
// While somebody does, every size has the class kSampledBin there, whose bin is always empty, so that every malloc takes the slow
// path (every free goes on as it was), where a countdown of bytes in the thread's cache says which block is due. A sampled
// block's byte in the object map is kSampledMark instead of its class: its free finds that bin shut, comes to the slow path, and is
// told to the watcher.
//
// Callers: heap_slow.cc and realloc.cc for each allocation; inspect/ watches.
// Invariant: a block carries kSampledMark exactly while the watcher has it.
#pragma once

#include "allocator/base/annotations.h"
#include "allocator/heap.h"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace warren::sampling {

struct Watcher {
  // Mean number of bytes between two samples; asked anew for each.
  uint64_t (*rate)();
  // Of the thread that allocates. Outside of the heap: may call anything that its thread could.
  uint32_t (*stack)();
  // Inside of the heap, as a signal handler could be: may take locks below kStacks, must not allocate.
  // add() false: no memory, the block goes unwatched. `rate` is the one that chose it. remove() false: it is not there.
  bool (*add)(const void *block, size_t size, uint64_t rate, uint32_t stack);
  bool (*remove)(const void *block);
  // After an allocation that was due, outside of the heap.
  void (*after)();
};

// Written under the cache registry's lock; relaxed: a thread may see a change some allocations late. (`counting` is in heap.h.)
extern std::atomic<const Watcher *> watcher;
extern std::atomic<void (*)(void *block, size_t size)> each_block;

// From now on allocations are counted for `watcher`; at most one, which stays for blocks that it still has. nullptr: no more are
// sampled.
void watch(const Watcher *watcher);

// From now on `note` is called for each block just allocated, or of more than 32 KiB and just reallocated, by its thread and
// outside of the heap: it may allocate, and is then called again. Not for what a signal handler allocates inside the heap.
// nullptr: no longer.
void watch_each(void (*note)(void *block, size_t size));

inline bool notes() { return each_block.load(std::memory_order_relaxed) != nullptr; }

// Allocations are counted from now on, whether anybody watches or not: the fast paths have been made to (preload/).
void count_for_ever();

bool is_due_slow(size_t size);

// Counts an allocation. True: it is to be sampled.
inline bool is_due(size_t size) {
  CacheHead *cache = current_cache();
  if (WARREN_UNLIKELY(cache == &hot.empty)) return is_due_slow(size);
  if (WARREN_LIKELY((cache->countdown -= static_cast<int64_t>(size)) >= 0)) return false;
  return static_cast<Cache *>(cache)->rate != 0 || is_due_slow(0);
}

// For a heap that counts by itself, with a countdown for each thread: whether somebody samples, and the next countdown. `random`: the
// thread's, 0 at first. `rate`: what was drawn with, for add_unmarked(); 0: nobody samples.
bool is_on();
int64_t draw(uint64_t &random, uint64_t &rate);

// Tells the watcher of an object that it is told of again, by remove(), when it goes; it has no byte in the object map. False: the
// watcher does not take it.
bool add_unmarked(const void *object, size_t size, uint64_t rate, uint32_t stack);

inline constexpr int64_t kNever = INT64_MAX;

// No more allocations of this thread are due until add_and_end(), which draws the next countdown.
void begin_slow();
inline void begin() {
  CacheHead *cache = current_cache();
  if (WARREN_UNLIKELY(cache == &hot.empty)) return begin_slow();
  cache->countdown = kNever;
}

// Tells the watcher of a block that was due, unless it is nullptr.
void add_and_end(void *block, size_t size, uint32_t stack);

// A block that the countdown chose: never a tiny one, as sampled_block() (block.h) has it.
template <class Allocate>
WARREN_COLD void *allocate_sampled(size_t size, Allocate allocate) {
  begin();
  const Watcher *who = watcher.load(std::memory_order_relaxed);
  const uint32_t stack = who->stack();
  const size_t bytes = size <= kTinySize ? kTinySize + 1 : size;
  void *block = allocate(bytes);
  add_and_end(block, size, stack);
  who->after();
  return block;
}

template <class Allocate>
WARREN_COLD void *allocate_watched(size_t size, bool due, Allocate allocate) {
  void *block = due ? allocate_sampled(size, allocate) : allocate(size);
  auto *note = each_block.load(std::memory_order_relaxed);
  if (note != nullptr && block != nullptr) note(block, size);
  return block;
}

// allocate(size), counted: what slow functions do while counts(). Nearly always that is all they do, and the last thing: kept apart
// from the rest, it needs no frame.
template <class Allocate>
WARREN_ALWAYS_INLINE void *counted(size_t size, Allocate allocate) {
  const bool due = WARREN_LIKELY(size <= size_t{PTRDIFF_MAX}) && is_due(size);
  if (WARREN_LIKELY(!due && !notes())) return allocate(size);
  return allocate_watched(size, due, allocate);
}

// Of a sampled block that is freed, whose mark is the caller's to change. kRaced: another free of it came first. kBusy: this is a
// signal handler inside the heap, and nothing was done.
enum class Removal : uint8_t { kDone, kRaced, kBusy };
Removal remove(const void *block);

// Of a block whose free had been put off.
void remove_deferred(const void *block);

}  // namespace warren::sampling
