// See stack_table.h. A hash table whose chains only grow at their heads, in metadata.
#include "inspect/stack_table.h"

#include "allocator/base/address.h"
#include "allocator/base/annotations.h"
#include "allocator/metadata.h"

#include <atomic>
#include <cstring>

namespace warren::inspect::stack_table {
namespace {

struct Entry {
  const Entry *next;
  uint32_t hash;
  uint32_t number;
  uint32_t count;
  void *frames[];  // `count` of them
};

// More: memory in every process that profiles. Fewer: chains of more than one in large programs; those that allocate from
// 100,000 places walk two or three entries.
constexpr unsigned kBucketBits = 15;
constexpr size_t kBuckets = size_t{1} << kBucketBits;

constexpr size_t kEntriesPerChunk = 4096;
constexpr size_t kMostChunks = 4096;

constinit Mutex lock(LockRank::kStackTable);
// Each word is stored under the lock, and the first two kinds once. release: pairs with the acquires in find() and frames_of().
std::atomic<std::atomic<const Entry *> *> buckets{nullptr};
WARREN_LARGE_TABLE std::atomic<const Entry **> chunks[kMostChunks];
std::atomic<uint32_t> entry_count{0};

uint32_t hash_of(void *const *frames, unsigned count) {
  uint64_t hash = count;
  for (unsigned i = 0; i < count; ++i) {
    hash = (hash ^ address_of(frames[i])) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  return static_cast<uint32_t>(hash >> 32);
}

uint32_t find(const std::atomic<const Entry *> &bucket, uint32_t hash, void *const *frames, unsigned count) {
  // acquire: pairs with the release in add(): the entry is complete.
  for (const Entry *entry = bucket.load(std::memory_order_acquire); entry != nullptr; entry = entry->next) {
    if (entry->hash == hash && entry->count == count && memcmp(entry->frames, frames, count * sizeof *frames) == 0) {
      return entry->number;
    }
  }
  return 0;
}

void *take(size_t bytes) {
  MutexLock guard(metadata::lock);
  return metadata::allocate(bytes, alignof(Entry));
}

std::atomic<const Entry *> *buckets_made() REQUIRES(lock) {
  auto *table = buckets.load(std::memory_order_relaxed);  // relaxed: written under this lock
  if (table != nullptr) return table;
  table = static_cast<std::atomic<const Entry *> *>(take(kBuckets * sizeof *table));
  // release: pairs with the acquire in record(): the buckets are empty. (Metadata is zero.)
  buckets.store(table, std::memory_order_release);
  return table;
}

uint32_t add(std::atomic<const Entry *> &bucket, uint32_t hash, void *const *frames, unsigned count) REQUIRES(lock) {
  const uint32_t number = entry_count.load(std::memory_order_relaxed) + 1;  // relaxed: written under this lock
  const size_t chunk = number / kEntriesPerChunk;
  if (chunk == kMostChunks) return 0;
  const Entry **places = chunks[chunk].load(std::memory_order_relaxed);  // relaxed: likewise
  if (places == nullptr) {
    places = static_cast<const Entry **>(take(kEntriesPerChunk * sizeof *places));
    if (places == nullptr) return 0;
    chunks[chunk].store(places, std::memory_order_release);
  }
  auto *entry = static_cast<Entry *>(take(sizeof(Entry) + count * sizeof *frames));
  if (entry == nullptr) return 0;
  entry->next = bucket.load(std::memory_order_relaxed);  // relaxed: likewise
  entry->hash = hash;
  entry->number = number;
  entry->count = count;
  memcpy(entry->frames, frames, count * sizeof *frames);
  __atomic_store_n(&places[number % kEntriesPerChunk], entry, __ATOMIC_RELEASE);  // pairs with frames_of()
  bucket.store(entry, std::memory_order_release);                                 // pairs with find()
  entry_count.store(number, std::memory_order_release);                           // pairs with count()
  return number;
}

}  // namespace

uint32_t record(void *const *frames, unsigned count) {
  if (count == 0) return 0;
  const uint32_t hash = hash_of(frames, count);
  const size_t index = hash >> (32 - kBucketBits);
  // acquire: pairs with the release in buckets_made().
  std::atomic<const Entry *> *table = buckets.load(std::memory_order_acquire);
  if (WARREN_LIKELY(table != nullptr)) {
    if (const uint32_t known = find(table[index], hash, frames, count)) return known;
  }
  if (lock.held_by_me()) return 0;
  MutexLock guard(lock);
  table = buckets_made();
  if (table == nullptr) return 0;
  if (const uint32_t known = find(table[index], hash, frames, count)) return known;
  return add(table[index], hash, frames, count);
}

Frames frames_of(uint32_t stack) {
  if (stack == 0) return {nullptr, 0};
  // acquire, both: pair with the releases in add().
  const Entry **places = chunks[stack / kEntriesPerChunk].load(std::memory_order_acquire);
  if (places == nullptr) return {nullptr, 0};
  const Entry *entry = __atomic_load_n(&places[stack % kEntriesPerChunk], __ATOMIC_ACQUIRE);
  return entry == nullptr ? Frames{nullptr, 0} : Frames{entry->frames, entry->count};
}

uint32_t count() { return entry_count.load(std::memory_order_acquire); }  // pairs with the release in add()

namespace {
bool locked = false;  // guarded by the lock itself
}

void lock_for_fork() NO_THREAD_SAFETY_ANALYSIS { locked = lock.lock_for_fork(); }
void unlock_after_fork(bool in_child) NO_THREAD_SAFETY_ANALYSIS {
  if (locked) lock.unlock_after_fork(in_child);
}

}  // namespace warren::inspect::stack_table
