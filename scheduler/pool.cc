// wr_pool: objects put aside for later, on shelves that threads share by hash. Source: sync.Pool with its victim cache.
//
// Each cycle of the collector throws the victims away and makes what is on the shelves the victims: what nobody has
// asked for between two cycles goes. Objects of the collector's heap are only forgotten, others are disposed of.
// Invariant: dispose runs with no lock held, and on each object once: the one who took it off a shelf.
#include "allocator/base/annotations.h"
#include "scheduler/element_memory.h"
#include "scheduler/short_lock.h"

#include <warren/sync.h>

#include <new>

// In the library when the collector is.
extern "C" __attribute__((weak)) int wr_gc_is_object(const void *p);

namespace warren::scheduler {
namespace {

// An array of objects. Its memory is scanned by the collector.
struct Shelf {
  Shelf *next;
  void (*dispose)(void *object);
  size_t count;
  size_t capacity;
  void *objects[];
};

constexpr size_t kFirstCapacity = 14;

Shelf *make_shelf(size_t capacity, void (*dispose)(void *)) {
  auto *shelf = static_cast<Shelf *>(element_memory(sizeof(Shelf) + capacity * sizeof(void *)));
  if (shelf == nullptr) return nullptr;
  shelf->dispose = dispose;
  shelf->capacity = capacity;
  return shelf;
}

void dispose_of(void *object, void (*dispose)(void *)) {
  if (dispose == nullptr) return;
  if (wr_gc_is_object != nullptr && wr_gc_is_object(object) != 0) return;
  dispose(object);
}

void dispose_of_all(Shelf *shelf) {
  while (shelf != nullptr) {
    Shelf *next = shelf->next;
    for (size_t i = 0; i < shelf->count; ++i) dispose_of(shelf->objects[i], shelf->dispose);
    free_element_memory(shelf);
    shelf = next;
  }
}

struct alignas(64) Shard {
  ShortLock lock;
  Shelf *fresh GUARDED_BY(lock) = nullptr;
  Shelf *victims GUARDED_BY(lock) = nullptr;

  static void *pop(Shelf *shelf) {
    if (shelf == nullptr || shelf->count == 0) return nullptr;
    void *object = shelf->objects[--shelf->count];
    shelf->objects[shelf->count] = nullptr;  // the collector must not find it here
    return object;
  }

  void *get_fresh() {
    ShortLockGuard guard(lock);
    return pop(fresh);
  }
  void *get_victim() {
    ShortLockGuard guard(lock);
    return pop(victims);
  }

  // False: no memory for a shelf.
  bool put(void *object, void (*dispose)(void *)) {
    ShortLockGuard guard(lock);
    if (fresh == nullptr || fresh->count == fresh->capacity) {
      Shelf *larger = make_shelf(fresh == nullptr ? kFirstCapacity : 2 * fresh->capacity, dispose);
      if (larger == nullptr) return false;
      if (fresh != nullptr) {
        for (size_t i = 0; i < fresh->count; ++i) larger->objects[i] = fresh->objects[i];
        larger->count = fresh->count;
        free_element_memory(fresh);
      }
      fresh = larger;
    }
    fresh->objects[fresh->count++] = object;
    return true;
  }

  void cycle(Shelf **dropped) {
    ShortLockGuard guard(lock);
    if (victims != nullptr) {
      victims->next = *dropped;
      *dropped = victims;
    }
    victims = fresh;
    fresh = nullptr;
  }
};

// More: get() looks in more places before it gives up. Fewer: threads meet on a shard.
constexpr size_t kShards = 8;

// Threads differ in the pages of their control blocks.
size_t my_shard() {
  const auto thread = reinterpret_cast<uintptr_t>(__builtin_thread_pointer());
  return static_cast<size_t>(((thread >> 12) * 0x9e3779b97f4a7c15u) >> 61);
}
static_assert(kShards == 8, "my_shard gives three bits");

}  // namespace
}  // namespace warren::scheduler

using namespace warren::scheduler;

struct wr_pool {
  Shard shards[kShards];
  void (*dispose)(void *object) = nullptr;
  // Guarded by the registry's lock.
  wr_pool *next = nullptr;
  wr_pool *prev = nullptr;
};

namespace {

constinit ShortLock registry_lock;  // taken before a shard's
constinit wr_pool *registry GUARDED_BY(registry_lock) = nullptr;

}  // namespace

extern "C" {

wr_pool *wr_pool_make(void (*dispose)(void *object)) {
  void *memory = aligned_alloc(alignof(wr_pool), sizeof(wr_pool));
  if (memory == nullptr) return nullptr;
  wr_pool *p = new (memory) wr_pool;
  p->dispose = dispose;
  ShortLockGuard guard(registry_lock);
  p->next = registry;
  if (registry != nullptr) registry->prev = p;
  registry = p;
  return p;
}

void wr_pool_delete(wr_pool *p) {
  if (p == nullptr) return;
  {
    ShortLockGuard guard(registry_lock);
    (p->prev != nullptr ? p->prev->next : registry) = p->next;
    if (p->next != nullptr) p->next->prev = p->prev;
  }
  Shelf *dropped = nullptr;
  for (int twice = 0; twice < 2; ++twice) {
    for (Shard &shard : p->shards) shard.cycle(&dropped);
  }
  p->~wr_pool();
  free(p);
  dispose_of_all(dropped);
}

void wr_pool_put(wr_pool *p, void *object) {
  if (!p->shards[my_shard()].put(object, p->dispose)) dispose_of(object, p->dispose);
}

void *wr_pool_get(wr_pool *p) {
  const size_t mine = my_shard();
  for (size_t i = 0; i < kShards; ++i) {
    if (void *object = p->shards[(mine + i) % kShards].get_fresh()) return object;
  }
  for (size_t i = 0; i < kShards; ++i) {
    if (void *object = p->shards[(mine + i) % kShards].get_victim()) return object;
  }
  return nullptr;
}

void wr_pool_cycle(void) {
  Shelf *dropped = nullptr;
  {
    ShortLockGuard guard(registry_lock);
    for (wr_pool *p = registry; p != nullptr; p = p->next) {
      for (Shard &shard : p->shards) shard.cycle(&dropped);
    }
  }
  dispose_of_all(dropped);
}

}  // extern "C"
