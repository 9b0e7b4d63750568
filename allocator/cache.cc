// Refilling and flushing of bins. See cache.h.
#include "allocator/cache.h"

#include "allocator/base/layout.h"
#include "allocator/central.h"
#include "allocator/heap.h"
#include "allocator/page_heap.h"
#include "allocator/thread.h"

#include <atomic>
#include <cstring>

namespace warren {

// Of a structure with a base offsetof() is no part of the standard, but of both compilers.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
struct Cache::Layout {
  static constexpr size_t kNext = offsetof(Cache, next), kPrev = offsetof(Cache, prev), kBatch = offsetof(Cache, batch_);
  static constexpr size_t kBottom = offsetof(Cache, bottom_), kPlace = offsetof(Cache, place_), kSlots = offsetof(Cache, slots_);
  static constexpr size_t kLarge = offsetof(Cache, large);
  static constexpr size_t kCountedTable = offsetof(Cache, counted_class_of);
  static_assert(kSlots + sizeof slots_ == sizeof(Cache), "all else is in front of the slots, for who reads it from outside");
};
#pragma GCC diagnostic pop
WARREN_SHOW_NUMBER("bins", kBinCount);
WARREN_SHOW_NUMBER("Cache.top", offsetof(CacheHead, top));
WARREN_SHOW_NUMBER("Cache.frees", offsetof(CacheHead, frees));
WARREN_SHOW_NUMBER("Cache.next", Cache::Layout::kNext);
WARREN_SHOW_NUMBER("Cache.prev", Cache::Layout::kPrev);
WARREN_SHOW_NUMBER("Cache.large", Cache::Layout::kLarge);
WARREN_SHOW_NUMBER("Cache.batch", Cache::Layout::kBatch);
WARREN_SHOW_NUMBER("Cache.bottom", Cache::Layout::kBottom);
WARREN_SHOW_NUMBER("Cache.place", Cache::Layout::kPlace);
WARREN_SHOW_NUMBER("Cache.slots", Cache::Layout::kSlots);
namespace {

// Blocks of a bin's first refill. More: the first use of a class hoards. Fewer: more trips before the
// bin has found its size. Later refills double up to half the bin.
constexpr unsigned kFirstBatch = 8;

// What all caches may hold together (tcmalloc's figure), and the bounds of one's share. A thread that sleeps keeps
// what it has: 200 threads that had each used 35 classes slept with 92 MB, and do with 39; 64 with 32, and do with 22.
// 32 MiB: 64 threads peak higher, and are not faster. A lower least: hundreds of threads trade blocks with the centrals.
constexpr size_t kAllCaches = size_t{16} << 20;

// But no more than this part of what is in use, or a small heap is mostly caches: four threads that sent each other 0.5 MB of
// messages peaked at 7.9 MB, and do at 5.6. A quarter, or 1 MiB: 5.0, but a tenth more time, for blocks that go to the centrals and come back.
constexpr size_t kPartOfUse = 2;
constexpr size_t kOfSmallHeaps = size_t{2} << 20;

constexpr size_t kLeastShare = size_t{128} << 10;
constexpr size_t kMostShare = size_t{2} << 20;

// Bytes of room that a bin is not robbed of, and blocks. Where the share is small, bins of many small blocks would else
// lose to a few large ones that nobody misses.
constexpr size_t kLeastBytes = 2048;
constexpr size_t kLeastRoom = 1;

// Bins that one miss looks at for room. All: where the bins want more than the thread's share, each miss robs one, which
// misses next (exponential_sizes with a share of 256 KiB took four times as long).
constexpr unsigned kLooks = 16;

// So many refills of a bin, beside other threads, are of cache lines that are the thread's alone: what a thread works with it has by then,
// and has it for long. Two threads with 1,024 blocks each (bench/classics/glibc_thread.cc), and how many of their operations wrote to a
// line of marks that the other writes to: the first alone 34 to 40%, 5 and 8 refills 6%, 12 none; it takes 0.9 of the time where the
// processors are near each other, and where they are not had taken 2.3 of jemalloc's and takes 0.9. All refills: in a heap full of holes
// each looks for such lines in vain (bench/classics/sh6.cc, 1.5 times the time; message_passing has 4% more memory).
constexpr uint8_t kRefillsApart = 12;

// Larger blocks share at most their ends with others, and a batch of them is more than a thread is to get that has asked for none.
constexpr size_t kMostOnSharedLines = 112;

unsigned slots_of(unsigned bin) { return info(class_of_bin(bin)).cache_slots; }
size_t block_size(unsigned bin) { return info(class_of_bin(bin)).object_size; }

size_t least_room(unsigned bin) {
  const size_t blocks = kLeastBytes / block_size(bin);
  return blocks > kLeastRoom ? blocks : kLeastRoom;
}

void *sentinel() { return at_address<void>(arena.start); }

}  // namespace

size_t Cache::share() {
  const size_t part = page_heap::used_bytes() / kPartOfUse;
  const size_t all = part < kOfSmallHeaps ? kOfSmallHeaps : part > kAllCaches ? kAllCaches : part;
  const size_t equal = all / threads::cache_count();
  return equal < kLeastShare ? kLeastShare : equal > kMostShare ? kMostShare : equal;
}

void Cache::set_up() {
  memcpy(static_cast<CacheHead *>(this), &hot.empty, Layout::kCountedTable);
  // Metadata is zero, and so is the table until then.
  if (sampling::counted_once.load(std::memory_order_relaxed)) memcpy(counted_class_of, hot.empty.counted_class_of, sizeof counted_class_of);
  memset(batch_, 0, sizeof batch_);
  memset(refills_apart_, 0, sizeof refills_apart_);
  memset(missed_, 0, sizeof missed_);
  memset(bottom_, 0, sizeof bottom_);
  memset(place_, 0, sizeof place_);
  slots_used_ = 0;
  random = rate = 0;
  allowed_bytes_ = 0;
  hand_ = 0;
  large.set_up();
}

// A process may be forked at any moment of this: blocks first, then where they are.
void Cache::make_place(unsigned bin, size_t blocks) {
  if (blocks < place_[bin]) return;
  void **const before = bottom(bin);
  const size_t slots_before = place_[bin], room_before = room(bin), kept = size(bin);
  place_[bin] = static_cast<uint16_t>(cache_detail::place_for(blocks, slots_of(bin)) + 1);
  bottom_[bin] = static_cast<uint16_t>(slots_used_ + 1);
  slots_used_ = static_cast<uint16_t>(bottom_[bin] + place_[bin]);
  void **const now = bottom(bin);
  now[-1] = sentinel();
  memcpy(now, before, kept * sizeof(void *));
  std::atomic_signal_fence(std::memory_order_release);
  set_top(bin, now + kept);
  limit[bin] = now + room_before;
  for (size_t i = 0; i < slots_before; ++i) before[i] = sentinel();
}

void Cache::set_room(unsigned bin, size_t blocks) {
  make_place(bin, blocks);
  allowed_bytes_ += (blocks - room(bin)) * block_size(bin);  // modulo 2^64: less room subtracts
  limit[bin] = bottom(bin) + blocks;
}

void Cache::open(unsigned bin) {
  if (is_open(bin)) return;
  const unsigned half = slots_of(bin) / 2;
  batch_[bin] = static_cast<uint8_t>(half < kFirstBatch ? half : kFirstBatch);
  top[bin] = limit[bin] = bottom(bin);
  set_room(bin, 2 * batch_[bin]);
  make_room(0, bin, 2 * kBinCount);  // in two turns all others can lose; that happens once
}

// Tiny requests get 16 bytes, on the fast path: two of 8 bytes in one block take twice as long. But no more of the heap is to be
// spent for that than a sixteenth, or half a mebibyte: from then on this thread's are packed. (Each packed: programs with many fields
// of a few bytes took 1.2 to 2 times as long. None: one of nothing but such fields peaks at twice the memory.)
void Cache::pack_tiny_if_many() {
  constexpr size_t kMost = size_t{1} << 20, kMostPart = 8;
  if (!packs_tiny) {
    const size_t bytes = central_of(SizeClass{kRoomyClass}).stats().objects_out * info(SizeClass{kRoomyClass}).object_size;
    if (bytes <= kMost || bytes <= page_heap::used_bytes() / kMostPart) return;
    packs_tiny = true;
  }
  for (uint8_t *table : {class_of, counted_class_of}) {
    if (__atomic_load_n(&table[kTinySize], __ATOMIC_RELAXED) != kRoomyClass) continue;  // the last that is written
    for (size_t size = 0; size <= kTinySize; ++size) {
      // Sampling may write them just now, and what it writes stays: no malloc is to go uncounted.
      uint8_t roomy = kRoomyClass;
      __atomic_compare_exchange_n(&table[size], &roomy, kTinyClass, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
  }
}

bool Cache::refill(unsigned bin) {
  open(bin);
  if (bin == kRoomyClass) pack_tiny_if_many();
  missed_[bin] = true;
  const uintptr_t last = address_of(*bottom(bin));  // as a rule the block that was there last
  // The bin is empty: the blocks go straight to where a full batch would end.
  make_place(bin, size(bin) + batch_[bin] + 1u);
  void **begin = top[bin];
  void **end = begin + batch_[bin];
  Central &central = central_of(class_of_bin(bin));
  const bool apart = refills_apart_[bin] < kRefillsApart && threads::cache_count() > 1;
  if (apart) ++refills_apart_[bin];
  const size_t fetched = apart ? central.fetch_apart(end, batch_[bin], last, shard) : central.fetch(end, batch_[bin], shard);
  if (fetched == 0) return false;
  if (fetched != batch_[bin]) memmove(begin, end - fetched, fetched * sizeof(void *));
  set_top(bin, begin + fetched);
  if (limit[bin] <= top[bin]) set_room(bin, fetched + 1);
  const unsigned half = slots_of(bin) / 2;
  const unsigned larger = batch_[bin] * 2u < half ? batch_[bin] * 2u : half;
  if (larger <= room(bin) || make_room((larger - room(bin)) * block_size(bin), bin, kLooks)) batch_[bin] = static_cast<uint8_t>(larger);
  return true;
}

void Cache::push_foreign(unsigned bin, void *block) {
  if (block_size(bin) > kMostOnSharedLines || !refill(bin)) return push(bin, block);
  const size_t blocks = size(bin);  // a refill leaves room for one more
  memmove(bottom(bin) + 1, bottom(bin), blocks * sizeof(void *));
  *bottom(bin) = block;
  set_top(bin, bottom(bin) + blocks + 1);
}

void Cache::push(unsigned bin, void *block) {
  open(bin);
  if (top[bin] >= limit[bin]) {
    missed_[bin] = true;
    const size_t now = room(bin);
    const size_t wider = now * 2 < slots_of(bin) ? now * 2 : slots_of(bin);
    if (now < wider && make_room((wider - now) * block_size(bin), bin, kLooks)) {
      set_room(bin, wider);
    } else {
      give_back_oldest(bin, size(bin) - now / 2);
    }
  }
  *top[bin]++ = block;
}

// Takes half of their room from other bins, in turn, until there is so much more for this one: from bins that have missed
// nothing since the last turn. A bin that is used wins room back; one that is not ends up with little. False: none of
// the next few has room to lose.
//
// This may be a signal handler's allocation, which has interrupted a fast path in just that bin. So if there is a block on top it stays
// there, and what was not full does not become full.
bool Cache::make_room(size_t bytes, unsigned for_bin, unsigned looks) {
  const size_t allowed = share();
  for (unsigned looked_at = 0; allowed_bytes_ + bytes > allowed; ++looked_at) {
    if (looked_at == looks) return false;
    hand_ = (hand_ + 1) % kBinCount;
    if (hand_ == for_bin || !is_open(hand_) || room(hand_) <= least_room(hand_)) continue;
    if (missed_[hand_]) {
      missed_[hand_] = false;
      continue;
    }
    const size_t rest = room(hand_) / 2, most = top[hand_] >= limit[hand_] ? rest : rest - 1;
    if (size(hand_) != 0 && most == 0) continue;
    if (size(hand_) > most) give_back_oldest(hand_, size(hand_) - most);
    set_room(hand_, rest);
    if (batch_[hand_] > rest) batch_[hand_] = static_cast<uint8_t>(rest);
  }
  return true;
}

void Cache::give_back_oldest(unsigned bin, size_t count) {
  const size_t rest = size(bin) - count;
  central_of(class_of_bin(bin)).give_back(bottom(bin), count);
  memmove(bottom(bin), bottom(bin) + count, rest * sizeof(void *));
  set_top(bin, bottom(bin) + rest);
}

// A push that a signal handler has interrupted before it raised the top, raises this one.
void Cache::set_top(unsigned bin, void **at) {
  top[bin] = at;
  *at = sentinel();
}

void *Cache::pop(unsigned bin) {
  while (size(bin) != 0) {
    if (void *block = *--top[bin]; WARREN_LIKELY(block != sentinel())) return block;
  }
  return nullptr;
}

void Cache::empty_bins(void (Central::*give)(void *const *, size_t)) {
  for (unsigned bin = 0; bin < kBinCount; ++bin) {
    void *batch[kMaxBatch];
    size_t count = 0;
    while (void *block = pop(bin)) {
      batch[count++] = block;
      if (count < kMaxBatch) continue;
      (central_of(class_of_bin(bin)).*give)(batch, count);
      count = 0;
    }
    if (count != 0) (central_of(class_of_bin(bin)).*give)(batch, count);
    if (is_open(bin)) set_top(bin, bottom(bin));
  }
}

void Cache::flush() {
  empty_bins(&Central::give_back);
  large.flush();
}

void Cache::adopt() {
  empty_bins(&Central::adopt);
  large.adopt();
}

}  // namespace warren
