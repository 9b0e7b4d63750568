// A thread's cache: for each size class a bin of free blocks, a stack of pointers.
// Pointers, not links inside the blocks: free blocks stay cold, and a stray write into one cannot
// lead the heap astray. Callers: the fast paths (heap.h) pop and push; heap_slow.cc refills and flushes;
// thread.cc creates and retires.
//
//        bottom                top         limit          bottom + place
//   [S]  [block] … [block]  |  [free slots]  |  [not in use yet]
//
// S, the sentinel below each bin's bottom, is the address of the arena's octet 0. The object map
// says "not free" of it for ever, so the check that a popped block is free (that it was not freed
// twice and handed out twice) is at the same time the check that the bin is not empty.
//
// Another S lies where a slow path has left the top. A push may have been interrupted by a signal handler
// whose allocation led there: it has written its block to where the top was before, and raises the new
// one. That block is lost then, and S is in the bin instead. A bin that moves to a larger place leaves S in all of the old one, for
// a pop that has been interrupted when it knew the top, but not yet what lies there. A push that has been interrupted after its look at
// the limit may raise the top above it by one: so each place has a slot more, and the next push, at the limit or above, misses.
//
// Invariant: a block in a bin has no mark in the object map. Only the owning thread touches its
// cache; other threads read for statistics where the bins begin and end and what was freed, and may see it a moment old.
#pragma once

#include "allocator/large_cache.h"
#include "allocator/size_class.h"

#include <cstddef>
#include <cstdint>

namespace warren {

class Central;

// Bins 1..67 are the classes. Bins that stay shut: 0, so that a free of what has no mark is caught; kSentinelMark's, so that one of the
// sentinel's address is; kSampledMark's, so that the free of a sampled block is noticed.
inline constexpr unsigned kSampledBin = 69;
inline constexpr unsigned kBinCount = 70;

constexpr unsigned bin_of(SizeClass size_class) { return size_class.value; }
constexpr SizeClass class_of_bin(unsigned bin) { return SizeClass{static_cast<uint8_t>(bin)}; }
constexpr bool bin_is_used(unsigned bin) { return bin != 0 && bin < kClassCount && bin != kUnalignedClass; }

// What the fast paths touch, in the order of use. The empty head that stands in for a missing cache
// is one of these as well.
struct CacheHead {
  void **top[kBinCount];
  void **limit[kBinCount];
  uint64_t frees[kBinCount];  // blocks freed; with the blocks that live, this gives the blocks allocated
  // The same in every cache: here they are reached from the register that reaches the bins.
  uint8_t *fine_from_zero;  // Arena's
  uint8_t class_of[kMaxSmallSize + 1];  // quick_class_of(), or kTinyClass; all kSampledBin while allocations are counted (sampling.h)
  bool packs_tiny;  // requests of at most kTinySize bytes get blocks of that size
  // While they are counted only. The table last: without sampling nothing reads it, nor is it copied.
  int64_t countdown;  // bytes to the next one that is sampled
  uint8_t counted_class_of[kMaxSmallSize + 1];  // all 0 except then, and when each block is noted

  bool counts_quickly() const { return counted_class_of[kMaxSmallSize] != 0; }
};

namespace cache_detail {

// A bin gets a place for few blocks, and moves to a larger one when it has more to hold, twice at most: most bins of most threads never
// do, and so the slots in use lie on few pages. It is little either way: KiB of metadata with places of 12 and 40, of these, of 48 and
// 128, and at full length: lifo_pairs 28, 24, 24, 44; many_threads 2350, 2460, 2370, 2700; message_passing 216, 232, 220, 196.
inline constexpr size_t kFirstPlace = 24, kSecondPlace = 80;

// Slots of the least place that has `blocks`.
constexpr size_t place_for(size_t blocks, size_t most) {
  if (blocks <= kFirstPlace && most > 2 * kFirstPlace) return kFirstPlace;
  if (blocks <= kSecondPlace && most > 2 * kSecondPlace) return kSecondPlace;
  return most;
}

// Each place has its sentinel in front, and a spare slot behind; a sentinel may come behind them all.
constexpr size_t count_slots() {
  size_t slots = 1;
  for (unsigned bin = 0; bin < kBinCount; ++bin) {
    if (!bin_is_used(bin)) continue;
    const size_t most = kSizeClasses[class_of_bin(bin).value].cache_slots;
    for (size_t place = 0; place < most; slots += place + 2) place = place_for(place + 1, most);
  }
  return slots;
}

}  // namespace cache_detail

inline constexpr size_t kMaxBatch = 128;  // half of the largest bin

struct Cache : CacheHead {
  // Shuts all bins: they open at their first refill, so that a bin nobody uses costs no memory.
  void set_up();

  // Opens the bin if it is shut.
  void open(unsigned bin);
  bool is_open(unsigned bin) const { return batch_[bin] != 0; }

  // Adds up to a batch from the class's central. False: no memory.
  bool refill(unsigned bin);

  // Adds one block, whose mark is already gone. A full bin grows, if need be at the cost of others, or gives back
  // its oldest half.
  void push(unsigned bin, void *block);

  // push() into a bin that is shut: the thread has had no block of the class, so this one is another's, and so may be its neighbours on
  // a cache line. It is put beneath a batch from the central, to be handed out last.
  void push_foreign(unsigned bin, void *block);

  // The last block that came, or nullptr.
  void *pop(unsigned bin);

  // 0 of a bin that another thread was moving when this process was forked. (Of one that it is moving now, any number up to its place.)
  size_t size(unsigned bin) const {
    const auto blocks = static_cast<size_t>(top[bin] - bottom(bin));
    return is_open(bin) && blocks <= place_[bin] ? blocks : 0;
  }

  // Returns everything to the centrals, and to the page heap.
  void flush();

  // In a forked child: returns what can be told to be free in the cache of a thread that did not come along.
  void adopt();

  // What the bins may hold together, in bytes.
  size_t allowed_bytes() const { return allowed_bytes_; }

  // What a thread's cache may hold now, in bytes.
  static size_t share();

  struct Layout;

  LargeCache large;
  unsigned shard;  // of the centrals (central.h); thread.cc says which

  // Of sampling.h.
  uint64_t random;
  uint64_t rate;  // that drew the countdown; 0: none was drawn

  Cache *next;  // the registry's list
  Cache *prev;

 private:
  void *const *bottom(unsigned bin) const { return slots_ + bottom_[bin]; }
  void **bottom(unsigned bin) { return slots_ + bottom_[bin]; }
  size_t room(unsigned bin) const { return static_cast<size_t>(limit[bin] - bottom(bin)); }
  void set_room(unsigned bin, size_t blocks);
  void make_place(unsigned bin, size_t blocks);
  void set_top(unsigned bin, void **at);
  bool make_room(size_t bytes, unsigned for_bin, unsigned looks);
  void give_back_oldest(unsigned bin, size_t count);
  void pack_tiny_if_many();
  void empty_bins(void (Central::*give)(void *const *, size_t));

  size_t allowed_bytes_;      // room of all bins
  unsigned hand_;             // the bin that was asked for room last
  uint8_t batch_[kBinCount];  // blocks of the next refill; 0 while the bin is shut
  uint8_t refills_apart_[kBinCount];  // from lines of the thread's own, see cache.cc
  bool missed_[kBinCount];    // was empty or full since it was last asked for room
  uint16_t slots_used_;         // by the places of all bins, those they have left too
  uint16_t bottom_[kBinCount];  // in slots_
  uint16_t place_[kBinCount];   // slots from there on that are the bin's, with the spare one
  void *slots_[cache_detail::count_slots()];
};

}  // namespace warren
