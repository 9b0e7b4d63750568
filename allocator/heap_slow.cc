// Everything behind the fast paths' one branch: set-up, refills, medium and large blocks, frees that
// do not fit, and calls from signal handlers that interrupted the heap. See heap.h.
#include "allocator/heap.h"

#include "allocator/base/check.h"
#include "allocator/base/mutex.h"
#include "allocator/base/options.h"
#include "allocator/base/os_process.h"
#include "allocator/block.h"
#include "allocator/central.h"
#include "allocator/emergency.h"
#include "allocator/large.h"
#include "allocator/metadata.h"
#include "allocator/misuse.h"
#include "allocator/page_heap.h"
#include "allocator/sampling.h"
#include "allocator/scavenger.h"
#include "allocator/thread.h"

#include <cstring>
#include <elf.h>

namespace warren {
namespace {

constinit Mutex init_lock(LockRank::kHeapInit);
std::atomic<bool> ready{false};

constexpr uint8_t kJunkAllocated = 0xa5;
constexpr uint8_t kJunkFreed = 0x5a;

bool fills() {
  return options.junk.load(std::memory_order_relaxed) != 0 || options.zero_on_free.load(std::memory_order_relaxed) != 0;
}

void fill_allocated(void *block, size_t size) {
  if (WARREN_UNLIKELY(options.junk.load(std::memory_order_relaxed) != 0) && block != nullptr) memset(block, kJunkAllocated, size);
}

void fill_freed(void *block, size_t size) {
  if (options.zero_on_free.load(std::memory_order_relaxed) != 0) {
    memset(block, 0, size);
  } else {
    memset(block, kJunkFreed, size);
  }
}

SizeClass class_of_size(size_t size) {
  return size <= kMaxSmallSize ? class_of_small_size(size) : class_of_medium_size(size);
}

// The same, but for tiny requests of a thread that does not pack them.
SizeClass class_to_take(size_t size) {
  if (size <= kTinySize && !current_cache()->packs_tiny) return SizeClass{kRoomyClass};
  return class_of_size(size);
}

// Frees of signal handlers that found this heap busy, see emergency.h.
WARREN_COLD void drain_deferred() {
  for (emergency::Deferred *entry = emergency::take_deferred(); entry != nullptr;) {
    void *block = entry;
    entry = entry->next;
    sampling::remove_deferred(block);
    const Span *span = page_map::at(arena.page_of(address_of(block)));
    if (span->state == SpanState::kLarge) {
      large::free(block);
    } else {
      central_of(span->size_class).give_back(&block, 1);
      threads::count_uncached_frees(bin_of(span->size_class), 1);
    }
  }
}

void *take_from_central(SizeClass size_class) {
  void *block;
  return central_of(size_class).fetch(&block + 1, 1) == 1 ? block : nullptr;
}

void *take_from_cache(Cache *cache, SizeClass size_class) {
  const unsigned bin = bin_of(size_class);
  if (void *block = cache->pop(bin)) return block;
  return cache->refill(bin) ? cache->pop(bin) : nullptr;
}

void *allocate_object(SizeClass size_class, CacheAccess &access) {
  for (;;) {
    void *block = access.cache() != nullptr ? take_from_cache(access.cache(), size_class) : take_from_central(size_class);
    if (WARREN_UNLIKELY(block == nullptr)) {
      if (access.cache() == nullptr || !access.cache()->large.flush()) return nullptr;
      continue;  // at a limit: with what this thread has freed
    }
    uint8_t *mark = object_map::of_class(size_class, address_of(block));
    if (WARREN_LIKELY(*mark == 0)) {
      *mark = size_class.value;
      return block;
    }
    fatal::double_free_raced(block, info(size_class).object_size);  // told to go on: this entry is dropped
  }
}

// Outside of the heap again, with the block in hand.
void slow_down() {
  if (auto *brake = heap::brake.load(std::memory_order_relaxed); WARREN_UNLIKELY(brake != nullptr)) brake();
}

// A block of one of the classes, all of whose objects are aligned to `align`.
void *allocate_object(SizeClass size_class, size_t align) {
  void *block;
  {
    CacheAccess access;
    if (WARREN_UNLIKELY(access.reentered())) return emergency::allocate(info(size_class).object_size, align);
    if (WARREN_UNLIKELY(emergency::has_deferred())) drain_deferred();
    block = allocate_object(size_class, access);
  }
  slow_down();
  return block;
}

large::Allocated allocate_large(size_t size, size_t align) {
  large::Allocated allocated;
  {
    CacheAccess access;
    if (WARREN_UNLIKELY(access.reentered())) return {emergency::allocate(size, align), size};
    Cache *cache = access.cache();
    Span *kept = cache != nullptr && align <= kPageSize ? cache->large.take(PageCount::covering(size)) : nullptr;
    allocated = kept != nullptr ? large::reuse(kept) : large::allocate(size, align);
    if (WARREN_UNLIKELY(allocated.block == nullptr) && cache != nullptr) {
      cache->flush();  // at a limit: what this thread hoards may make a run
      for (Central &central : centrals) central.release_kept();
      allocated = large::allocate(size, align);
    }
  }
  slow_down();
  return allocated;
}

bool is_possible(size_t size) { return size <= size_t{PTRDIFF_MAX} && size <= (size_t{1} << 30) * kPageSize; }

void release_object(void *block, const Block &found) {
  const unsigned bin = bin_of(found.size_class);
  *found.mark = 0;
  CacheAccess access;
  if (WARREN_UNLIKELY(access.reentered())) return emergency::defer_free(block);
  if (WARREN_UNLIKELY(emergency::has_deferred())) drain_deferred();
  if (Cache *cache = access.cache()) {
    if (WARREN_LIKELY(cache->is_open(bin))) {
      cache->push(bin, block);
    } else {
      cache->push_foreign(bin, block);
    }
    cache->frees[bin]++;
  } else {
    central_of(found.size_class).give_back(&block, 1);
    threads::count_uncached_frees(bin, 1);
  }
}

// A sampled block is freed: it becomes one like any other. False: its free is settled.
WARREN_COLD bool remove_sample(void *block, const Block &found, const char *function) {
  switch (sampling::remove(block)) {
    case sampling::Removal::kDone: break;
    case sampling::Removal::kRaced: misuse::report(function, block); return false;
    case sampling::Removal::kBusy:
      // The exchange settles a race of two frees.
      if (__atomic_exchange_n(found.mark, 0, __ATOMIC_ACQ_REL) == object_map::kSampledMark) {
        emergency::defer_free(block);
      } else {
        misuse::report(function, block);
      }
      return false;
  }
  *found.mark = found.kind == Block::Kind::kLarge ? object_map::kLargeMark : found.size_class.value;
  return true;
}

void release_large(void *block, const Block &found, const char *function) {
  // The exchange settles a race of two frees: one of them finds nothing to free.
  if (__atomic_exchange_n(found.mark, 0, __ATOMIC_ACQ_REL) != object_map::kLargeMark) return misuse::report(function, block);
  CacheAccess access;
  if (WARREN_UNLIKELY(access.reentered())) return emergency::defer_free(block);
  if (Cache *cache = access.cache()) return cache->large.put(page_map::at(arena.page_of(address_of(block))));
  large::free(block);
}

}  // namespace

namespace heap {

constinit std::atomic<void (*)()> brake{nullptr};

bool is_set_up() { return ready.load(std::memory_order_acquire); }

WARREN_COLD bool set_up() {
  if (is_set_up()) return true;
  if (init_lock.held_by_me()) return false;  // a signal handler interrupted the set-up
  MutexLock guard(init_lock);
  if (is_set_up()) return true;
  static bool options_read = false;
  if (!options_read) {
    options_read = true;
    const char *conf = os_process::environment(kOptionsVariable);
    // A program with raised privileges does not take orders from its caller's environment.
    if (conf != nullptr && os_process::auxiliary(AT_SECURE) == 0) option_parser::read(conf);
    if (options.help.load(std::memory_order_relaxed) != 0) option_parser::print_help();
  }
  if (!arena_growth::set_up(options.arena.load(std::memory_order_relaxed))) return false;
  hot.empty_bin[0] = at_address<void>(arena.start);
  metadata::set_up();
  threads::set_up();
  scavenger::set_up();
  // release: pairs with the acquire in is_set_up().
  ready.store(true, std::memory_order_release);
  return true;
}

}  // namespace heap

namespace {

// What the public functions do, but for counting.

void *allocate_uncounted(size_t size) {
  if (void *block = allocate_tiny_or_medium(size)) return block;  // malloc and new have tried, nobody else has
  if (WARREN_UNLIKELY(!heap::is_set_up()) && !heap::set_up()) return nullptr;
  void *block;
  if (WARREN_LIKELY(size <= kMaxClassSize)) {
    block = allocate_object(class_to_take(size), kMinAlign);
  } else {
    if (!is_possible(size)) return nullptr;
    block = allocate_large(size, kPageSize).block;
  }
  fill_allocated(block, size);
  return block;
}

void *allocate_large_zeroed(size_t size) {
  if (WARREN_UNLIKELY(!heap::is_set_up()) && !heap::set_up()) return nullptr;
  const large::Allocated allocated = allocate_large(size, kPageSize);
  if (allocated.block == nullptr || allocated.dirty_bytes == 0) return allocated.block;
  return memset(allocated.block, 0, allocated.dirty_bytes < size ? allocated.dirty_bytes : size);
}

void *allocate_aligned_uncounted(size_t align, size_t size) {
  if (align <= kMinAlign && size > kTinySize) return allocate<allocate_uncounted>(size);
  const size_t least = size < align ? align : size;
  SizeClass size_class{};
  if (align <= kPageSize && least <= kMaxClassSize) {
    size_class = aligned_class(align, class_of_size(least));
    if (void *block = allocate_of_class(size_class)) return block;
  }
  if (!is_possible(size) || align > size_t{1} << 46) return nullptr;
  if (WARREN_UNLIKELY(!heap::is_set_up()) && !heap::set_up()) return nullptr;
  void *block = size_class.value != 0 ? allocate_object(size_class, align) : allocate_large(size, align).block;
  fill_allocated(block, size);
  return block;
}

WARREN_NOINLINE void *count_and_allocate(size_t size) {
  const bool due = WARREN_LIKELY(is_possible(size)) && sampling::is_due(size);
  if (WARREN_LIKELY(!due && !sampling::notes())) return allocate_uncounted(size);
  // The small one that is due is at hand, as a rule.
  return sampling::allocate_watched(size, due, [](size_t bytes) {
    void *block = bytes - (kTinySize + 1) < kMaxSmallSize - kTinySize ? allocate_of_class(class_of_small_size(bytes)) : nullptr;
    return block != nullptr ? block : allocate_uncounted(bytes);
  });
}

WARREN_NOINLINE void *count_and_allocate_aligned(size_t align, size_t size) {
  return sampling::counted(size, [align](size_t bytes) { return allocate_aligned_uncounted(align, bytes); });
}

WARREN_NOINLINE void *allocate_aligned_counted(size_t align, size_t size) {
  const size_t least = size < align ? align : size;
  if (align <= kPageSize && least <= kMaxClassSize && least > kTinySize) {
    if (void *block = allocate_of_class_counted(aligned_class(align, class_of_size(least)), size)) return block;
  }
  return count_and_allocate_aligned(align, size);
}

}  // namespace

WARREN_NOINLINE void *allocate_slow(size_t size) {
  if (WARREN_LIKELY(!sampling::counts())) return allocate_uncounted(size);
  return allocate_counted<count_and_allocate>(size);
}

void *allocate_zeroed(size_t size) {
  if (size > kMaxClassSize && is_possible(size)) {
    return WARREN_LIKELY(!sampling::counts()) ? allocate_large_zeroed(size) : sampling::counted(size, allocate_large_zeroed);
  }
  void *block = allocate<allocate_slow>(size);
  return block == nullptr ? nullptr : memset(block, 0, size);
}

void *allocate_zeroed_counted(size_t size) {
  if (size > kMaxClassSize) return allocate_zeroed(size);
  void *block = allocate_counted<allocate_slow>(size);
  return block == nullptr ? nullptr : memset(block, 0, size);
}

void *allocate_aligned(size_t align, size_t size) {
  DCHECK(is_power_of_two(align));
  if (size == 0) size = 1;
  if (WARREN_LIKELY(!sampling::counts())) return allocate_aligned_uncounted(align, size);
  return allocate_aligned_counted(align, size);
}

WARREN_NOINLINE void release_slow(void *block, const char *function) {
  if (block == nullptr) return;
  const uintptr_t address = address_of(block);
  if (WARREN_UNLIKELY(emergency::contains(address))) return emergency::free(block);
  const Block found = find_block(address);
  if (WARREN_UNLIKELY(found.kind == Block::Kind::kNone)) return misuse::report(function, block);
  if (WARREN_UNLIKELY(found.sampled)) {
    if (!remove_sample(block, found, function)) return;
    if (found.kind != Block::Kind::kLarge && !fills() && push_freed(block, found.mark, found.size_class.value)) return;
  }
  if (WARREN_UNLIKELY(fills())) fill_freed(block, block_size(found, address));
  if (found.kind == Block::Kind::kLarge) return release_large(block, found, function);
  release_object(block, found);
}

void heap::release_lost(void *const *blocks, size_t count) {
  constexpr const char *kFunction = "gc=collect";
  void *batch[kMaxBatch];
  size_t batched = 0;
  SizeClass of_batch{0};
  const auto give_back = [&] {
    if (batched == 0) return;
    central_of(of_batch).give_back(batch, batched);
    threads::count_uncached_frees(bin_of(of_batch), batched);
    batched = 0;
  };
  for (size_t i = 0; i < count; ++i) {
    void *block = blocks[i];
    const Block found = find_block(address_of(block));
    if (WARREN_UNLIKELY(found.kind == Block::Kind::kNone)) {  // the search was wrong: somebody had a pointer
      misuse::report(kFunction, block);
      continue;
    }
    if (WARREN_UNLIKELY(found.sampled) && !remove_sample(block, found, kFunction)) continue;
    if (WARREN_UNLIKELY(fills())) fill_freed(block, block_size(found, address_of(block)));
    if (found.kind == Block::Kind::kLarge) {
      release_large(block, found, kFunction);
      continue;
    }
    if (batched == kMaxBatch || found.size_class.value != of_batch.value) give_back();
    of_batch = found.size_class;
    *found.mark = 0;
    batch[batched++] = block;
  }
  give_back();
}

size_t usable_size(void *block, const char *function) {
  if (block == nullptr) return 0;
  const uintptr_t address = address_of(block);
  if (emergency::contains(address)) return emergency::size_of(block);
  const Block found = find_block(address);
  if (found.kind != Block::Kind::kNone) return block_size(found, address);
  misuse::report(function, block);
  return 0;
}

bool owns(const void *block) { return arena.contains(address_of(block)) || emergency::contains(address_of(block)); }

size_t rounded_size(size_t size) {
  if (size <= kMaxClassSize) return info(class_to_take(size)).object_size;
  return is_possible(size) ? PageCount::covering(size).bytes() : 0;
}

size_t release_free_memory() {
  if (!heap::is_set_up()) return 0;
  CacheAccess access;
  if (access.reentered()) return 0;
  drain_deferred();
  if (access.cache() != nullptr) access.cache()->flush();
  for (Central &central : centrals) central.release_kept();
  const size_t bytes = page_heap::release_all();
  scavenger::note_released(bytes);
  return bytes;
}

}  // namespace warren
