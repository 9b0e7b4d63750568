// The collector's heap as its users see it: objects that nobody frees.
// Callers: preload/ (the C ABI, statistics), cycle.cc and pacing.cc (the counts).
// Invariant: every object is zero when it is handed out, and stays until no word that the collector can find points into it.
#pragma once

#include "gc/cache.h"

namespace warren::gc {

enum class Kind : uint8_t { kScan, kNoscan };

// Says that the object is held until here (Go's KeepAlive). A function that looks up what a pointer points to takes the
// pointer apart, into a span and an index; the compiler is free to hold nothing but these, and a thread that is stopped just
// then would not hold the object.
inline void keep_alive(const void *object) { asm volatile("" : : "r"(object) : "memory"); }

// The same address, as a value that the compiler cannot put together later than here.
inline void *whole(void *object) {
  asm volatile("" : "+r"(object) : : "memory");
  return object;
}

namespace heap {

// The class of each small size, in steps of 8 bytes: all of Go's but the 8-byte one.
inline constexpr size_class_detail::ClassTable<kMaxSmallSize, 8, 2, true> kSmallClasses;

// From here on a byte is added, so that a pointer just past the end of an array keeps the array and not its neighbour.
// Smaller objects would pay for it with up to half of their size.
inline constexpr size_t kMinPaddedSize = 128;

void *allocate_slow(size_t size, Kind kind);

// nullptr: no memory, not even after a collection. kSlow: called last, so that who has something to do with a nullptr keeps nothing
// for it.
template <void *(*kSlow)(size_t size, Kind kind) = allocate_slow>
inline void *allocate(size_t size, Kind kind) {
  const size_t padded = size + (size >= kMinPaddedSize);
  Cache *cache = current_cache_or_null;
  if (WARREN_LIKELY(size < kMaxSmallSize && cache != nullptr)) {  // not `padded`, which may have come round to 0
    const uint8_t number = kSmallClasses.class_of[(padded + 7) / 8];
    Run &run = cache->runs[static_cast<size_t>(kind)][number];
    const uintptr_t object = run.next;
    const uintptr_t next = object + kSizeClasses[number].object_size;
    if (WARREN_LIKELY(next <= run.end)) {
      run.next = next;
      return at_address<void>(object);
    }
  }
  return kSlow(size, kind);
}

// noscan objects below 16 bytes share blocks.
void *allocate_tiny(size_t size);

// Aligned to a power of two of at most a page.
void *allocate_aligned(size_t size, size_t alignment, Kind kind);

// The start of the live object that `pointer` points into; nullptr: none of this heap's.
void *base_of(const void *pointer);

// Usable bytes of the object that starts at `object`.
size_t size_of(const void *object);

void *reallocate(void *object, size_t size);
void release(void *object);

struct Stats {
  uint64_t live_bytes;   // allocated since, and marked by, the last cycle
  uint64_t total_bytes;  // allocated ever
};
Stats stats();

// Bytes in objects and runs; what starts a cycle. Set by the cycle when it has counted.
extern std::atomic<uint64_t> live_bytes;
extern std::atomic<uint64_t> scannable_bytes;  // of them: in objects that may hold pointers

// Whether release() was ever called. What dangles then may later be the address of another object, and a program that finds it equal
// spares itself the store that a minor cycle would have to see: from then on all cycles are full. relaxed: a hint.
extern std::atomic<bool> freed_by_hand;

}  // namespace heap
}  // namespace warren::gc
