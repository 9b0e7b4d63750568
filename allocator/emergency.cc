// A bump pool that starts over when its last block is freed. See emergency.h.
#include "allocator/emergency.h"

#include "allocator/base/address.h"
#include "allocator/base/annotations.h"

#include <atomic>

namespace warren::emergency {
namespace {

// In .bss: costs nothing until used; aligned as the kernel aligns, since a loader that must do more reserves, cuts and protects
// first. Crash handlers format a few messages; a handler that needs more gets NULL.
constexpr size_t kPoolSize = size_t{256} << 10;
alignas(kOsPageSize) WARREN_LARGE_TABLE char pool[kPoolSize];

struct Header {
  size_t size;
  size_t padding;
};
static_assert(sizeof(Header) == kMinAlign);

// How many blocks live and how many bytes of the pool they took: one word, so that "the last one is freed" and "start
// over" are one step. With two words a failed allocation between a free's look and its exchange kept the pool used for ever.
struct alignas(8) Use {
  uint32_t live;
  uint32_t bytes;
};
std::atomic<Use> use{Use{0, 0}};
static_assert(std::atomic<Use>::is_always_lock_free);

std::atomic<Deferred *> deferred{nullptr};

}  // namespace

void *allocate(size_t size, size_t align) {
  if (align < kMinAlign) align = kMinAlign;
  if (size > kPoolSize || align > kPageSize) return nullptr;
  const size_t footprint = align_up(size, kMinAlign) + sizeof(Header) + (align - kMinAlign);
  Use seen = use.load(std::memory_order_relaxed);  // relaxed: a guess that the exchange checks
  do {
    if (footprint > kPoolSize - seen.bytes) return nullptr;
    // acquire: pairs with the release in free(): the block's last owner is done with these bytes.
  } while (!use.compare_exchange_weak(seen, {seen.live + 1, seen.bytes + static_cast<uint32_t>(footprint)},
                                      std::memory_order_acquire, std::memory_order_relaxed));
  const uintptr_t block = align_up(address_of(pool) + seen.bytes + sizeof(Header), align);
  at_address<Header>(block - sizeof(Header))->size = size;
  return at_address<void>(block);
}

void free(void *) {
  Use seen = use.load(std::memory_order_relaxed);  // relaxed: a guess that the exchange checks
  // release: pairs with the acquire in allocate(); all frees since the pool was last empty are in its release sequence.
  while (!use.compare_exchange_weak(seen, seen.live == 1 ? Use{0, 0} : Use{seen.live - 1, seen.bytes},
                                    std::memory_order_release, std::memory_order_relaxed)) {
  }
}

bool contains(uintptr_t address) { return address - address_of(pool) < kPoolSize; }

size_t size_of(const void *block) { return at_address<const Header>(address_of(block) - sizeof(Header))->size; }

void defer_free(void *block) {
  auto *entry = static_cast<Deferred *>(block);
  entry->next = deferred.load(std::memory_order_relaxed);
  // release: pairs with the acquire in take_deferred(). Taking is of the whole list, so there is no ABA.
  while (!deferred.compare_exchange_weak(entry->next, entry, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

bool has_deferred() { return deferred.load(std::memory_order_relaxed) != nullptr; }  // relaxed: a hint

Deferred *take_deferred() { return deferred.exchange(nullptr, std::memory_order_acquire); }

}  // namespace warren::emergency
