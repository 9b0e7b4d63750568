// A bump pool that starts over when its last block is freed. See emergency.h.
#include "allocator/emergency.h"

#include "allocator/base/address.h"

#include <atomic>

namespace warren::emergency {
namespace {

// In .bss: costs nothing until used. Crash handlers format a few messages; a handler that needs more gets NULL.
constexpr size_t kPoolSize = size_t{256} << 10;
alignas(kPageSize) char pool[kPoolSize];

struct Header {
  size_t size;
  size_t padding;
};
static_assert(sizeof(Header) == kMinAlign);

// live_ is raised before used_ moves and lowered after it was read: see free().
std::atomic<size_t> live{0};
std::atomic<size_t> used{0};
std::atomic<Deferred *> deferred{nullptr};

}  // namespace

void *allocate(size_t size, size_t align) {
  if (align < kMinAlign) align = kMinAlign;
  if (size > kPoolSize || align > kPageSize) return nullptr;
  const size_t footprint = align_up(size, kMinAlign) + sizeof(Header) + (align - kMinAlign);
  live.fetch_add(1, std::memory_order_acq_rel);
  const size_t offset = used.fetch_add(footprint, std::memory_order_acq_rel);
  if (offset > kPoolSize || footprint > kPoolSize - offset) {
    used.fetch_sub(footprint, std::memory_order_acq_rel);
    live.fetch_sub(1, std::memory_order_acq_rel);
    return nullptr;
  }
  const uintptr_t block = align_up(address_of(pool) + offset + sizeof(Header), align);
  at_address<Header>(block - sizeof(Header))->size = size;
  return at_address<void>(block);
}

void free(void *) {
  // acq_rel: whoever allocates between the load and the exchange has raised `live` first (then we are
  // not the last) or moves `used` first (then the exchange fails); either way no live block is reused.
  size_t seen = used.load(std::memory_order_acquire);
  if (live.fetch_sub(1, std::memory_order_acq_rel) == 1) used.compare_exchange_strong(seen, 0, std::memory_order_acq_rel);
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
