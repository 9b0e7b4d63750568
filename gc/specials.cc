// See specials.h.
#include "gc/specials.h"

#include "allocator/base/annotations.h"
#include "allocator/base/stop_gate.h"
#include "allocator/metadata.h"
#include "gc/marker.h"
#include "gc/phase.h"
#include "gc/span_set.h"

#include <cerrno>
#include <cstring>

namespace warren::gc::specials {
namespace {

enum class Kind : uint8_t { kFinalizer, kWeak };

struct Record {
  Record *next;
  uintptr_t object;
  Kind kind;
  uint32_t cell;  // of kWeak
  Finalizer function;
  void *argument;
};

// What a weak reference names. Its number and its generation are the reference: a reference outlives its cell's use by this object.
struct Cell {
  uintptr_t object;  // 0: free
  uint32_t generation;
  uint32_t next_free;
};

constinit Mutex lock(LockRank::kSpecials);
metadata::FixedAllocator<Record> record_allocator;

// A power of two of them, and four times as many when they hold more than two records each.
constexpr size_t kFirstBuckets = 1024;
Record **buckets GUARDED_BY(lock) = nullptr;
size_t bucket_count GUARDED_BY(lock) = 0;
size_t record_count GUARDED_BY(lock) = 0;

constexpr uint32_t kCellsPerChunk = 4096;
constexpr uint32_t kMaxChunks = 4096;
WARREN_LARGE_TABLE Cell *chunks[kMaxChunks] GUARDED_BY(lock);
uint32_t cell_count GUARDED_BY(lock) = 0;
uint32_t free_cell GUARDED_BY(lock) = 0;  // number + 1 of the first

Record *ready_first GUARDED_BY(lock) = nullptr;
Record *ready_last GUARDED_BY(lock) = nullptr;

Span *span_of(uintptr_t object) { return page_map::at(arena.page_of(object)); }

size_t bucket_of(PageId page) REQUIRES(lock) {
  return static_cast<size_t>((uint64_t{page.value} * 0x9e3779b97f4a7c15) >> 32) & (bucket_count - 1);
}

Slot slot_of(uintptr_t object) {
  Slot slot;
  if (!find_slot(object, slot)) __builtin_unreachable();  // the invariant of records
  return slot;
}

// Of an object that has lived until now, when marking is over and nothing is swept yet. What came since is in new spans.
bool has_died(uintptr_t object) { return !slot_of(object).is_marked() && !is_swept(span_of(object)); }

Cell &cell_at(uint32_t number) REQUIRES(lock) { return chunks[number / kCellsPerChunk][number % kCellsPerChunk]; }

// Room for one more record. False: no memory at all.
bool reserve_bucket() REQUIRES(lock) {
  if (buckets != nullptr && record_count < 2 * bucket_count) return true;
  const size_t wanted = buckets == nullptr ? kFirstBuckets : bucket_count * 4;
  Record **fresh;
  {
    MutexLock guard(metadata::lock);
    fresh = static_cast<Record **>(metadata::allocate(wanted * sizeof(Record *), alignof(Record *)));
  }
  if (fresh == nullptr) return buckets != nullptr;
  Record **const old = buckets;
  const size_t old_count = bucket_count;
  buckets = fresh;
  bucket_count = wanted;
  for (size_t i = 0; i < old_count; ++i) {
    while (Record *record = old[i]) {
      old[i] = record->next;
      Record *&bucket = buckets[bucket_of(span_of(record->object)->first)];
      record->next = bucket;
      bucket = record;
    }
  }
  return true;
}

Record **find(uintptr_t object, Kind kind) REQUIRES(lock) {
  if (buckets == nullptr) return nullptr;
  for (Record **link = &buckets[bucket_of(span_of(object)->first)]; *link != nullptr; link = &(*link)->next) {
    if ((*link)->object == object && (*link)->kind == kind) return link;
  }
  return nullptr;
}

Record *add(uintptr_t object, Kind kind) REQUIRES(lock) {
  if (!reserve_bucket()) return nullptr;
  Record *record = record_allocator.allocate();
  if (record == nullptr) return nullptr;
  Span *span = span_of(object);
  Record *&bucket = buckets[bucket_of(span->first)];
  *record = Record{bucket, object, kind, 0, nullptr, nullptr};
  bucket = record;
  ++record_count;
  span->specials++;
  return record;
}

// Takes the record out of the table.
Record *unlink(Record **link) REQUIRES(lock) {
  Record *record = *link;
  *link = record->next;
  --record_count;
  span_of(record->object)->specials--;
  return record;
}

void free_cell_of(const Record *record) REQUIRES(lock) {
  Cell &cell = cell_at(record->cell);
  cell.object = 0;
  cell.generation++;
  cell.next_free = free_cell;
  free_cell = record->cell + 1;
}

bool take_cell(uint32_t *number) REQUIRES(lock) {
  if (free_cell != 0) {
    *number = free_cell - 1;
    free_cell = cell_at(*number).next_free;
    return true;
  }
  if (cell_count == kCellsPerChunk * kMaxChunks) return false;
  if (cell_count % kCellsPerChunk == 0) {
    MutexLock guard(metadata::lock);
    auto *chunk = static_cast<Cell *>(metadata::allocate(kCellsPerChunk * sizeof(Cell), alignof(Cell)));
    if (chunk == nullptr) return false;
    chunks[cell_count / kCellsPerChunk] = chunk;
  }
  *number = cell_count++;
  return true;
}

uint64_t weak_of(uint32_t number) REQUIRES(lock) { return uint64_t{cell_at(number).generation} << 32 | (number + 1); }

// What of the object lies in [low, high).
void scan_contents(const Record *record, uintptr_t low, uintptr_t high, Marker &marker) {
  const Slot slot = slot_of(record->object);
  if ((slot.tag & kNoscanTag) != 0) return;
  const uintptr_t end = record->object + object_size(slot);
  marker.scan_range(record->object > low ? record->object : low, end < high ? end : high);
}

}  // namespace

int set_finalizer(const Slot &slot, Finalizer function, void *argument) {
  MutexLock guard(lock);
  Record **link = find(slot.object, Kind::kFinalizer);
  if (function == nullptr) {
    if (link != nullptr) record_allocator.free(unlink(link));
    return 0;
  }
  if (link != nullptr) return EEXIST;
  Record *record = add(slot.object, Kind::kFinalizer);
  if (record == nullptr) return ENOMEM;
  record->function = function;
  record->argument = argument;
  if (phase::is_marking()) {  // the roots were scanned without it
    Marker marker;
    marker.discover(address_of(argument));
    scan_contents(record, 0, ~uintptr_t{0}, marker);
  }
  return 0;
}

uint64_t make_weak(const Slot &slot) {
  MutexLock guard(lock);
  if (Record **link = find(slot.object, Kind::kWeak)) return weak_of((*link)->cell);
  uint32_t number;
  if (!take_cell(&number)) return 0;
  Record *record = add(slot.object, Kind::kWeak);
  if (record == nullptr) {
    cell_at(number).next_free = free_cell;
    free_cell = number + 1;
    return 0;
  }
  record->cell = number;
  cell_at(number).object = slot.object;
  return weak_of(number);
}

uintptr_t get_weak(uint64_t weak) {
  const auto number = static_cast<uint32_t>(weak) - 1;
  MutexLock guard(lock);
  if (number >= cell_count) return 0;
  const Cell &cell = cell_at(number);
  if (cell.object == 0 || cell.generation != static_cast<uint32_t>(weak >> 32)) return 0;
  // Marking is over, and settle() will clear it.
  if (phase::current.load(std::memory_order_relaxed) == phase::Phase::kSettle && has_died(cell.object)) return 0;
  return cell.object;
}

void forget(const Slot &slot) {
  MutexLock guard(lock);
  if (Record **link = find(slot.object, Kind::kFinalizer)) record_allocator.free(unlink(link));
  if (Record **link = find(slot.object, Kind::kWeak)) {
    Record *record = unlink(link);
    free_cell_of(record);
    record_allocator.free(record);
  }
}

void for_each_marking_root(VisitRange visit, void *context) {
  const auto visit_word = [=](const void *word) { visit(address_of(word), address_of(word) + sizeof(uintptr_t), context); };
  MutexLock guard(lock);
  for (const Record *record = ready_first; record != nullptr; record = record->next) {
    visit_word(&record->object);
    visit_word(&record->argument);
  }
  for (size_t i = 0; i < bucket_count; ++i) {
    for (const Record *record = buckets[i]; record != nullptr; record = record->next) {
      if (record->kind != Kind::kFinalizer) continue;
      visit_word(&record->argument);
      const Slot slot = slot_of(record->object);
      if ((slot.tag & kNoscanTag) == 0) visit(record->object, record->object + object_size(slot), context);
    }
  }
}

void scan_roots(Marker &marker) {
  for_each_marking_root([](uintptr_t low, uintptr_t high, void *to) { static_cast<Marker *>(to)->scan_range(low, high); }, &marker);
}

void scan_contents_on(const Span *span, uintptr_t low, uintptr_t high, Marker &marker) {
  MutexLock guard(lock);
  if (buckets == nullptr) return;
  for (const Record *record = buckets[bucket_of(span->first)]; record != nullptr; record = record->next) {
    if (record->kind == Kind::kFinalizer && span_of(record->object) == span) scan_contents(record, low, high, marker);
  }
}

void settle() {
  MutexLock guard(lock);
  for (size_t i = 0; i < bucket_count; ++i) {
    for (Record **link = &buckets[i]; *link != nullptr;) {
      if ((*link)->kind != Kind::kWeak || !has_died((*link)->object)) {
        link = &(*link)->next;
        continue;
      }
      Record *record = unlink(link);
      free_cell_of(record);
      record_allocator.free(record);
    }
  }
  for (size_t i = 0; i < bucket_count; ++i) {
    for (Record **link = &buckets[i]; *link != nullptr;) {
      if ((*link)->kind != Kind::kFinalizer || !has_died((*link)->object)) {
        link = &(*link)->next;
        continue;
      }
      Record *record = unlink(link);
      record->next = nullptr;
      if (ready_first == nullptr) {
        ready_first = record;
      } else {
        ready_last->next = record;
      }
      ready_last = record;
    }
  }
  // Only now: objects that share a block die together, and each has its own finalizer.
  for (const Record *record = ready_first; record != nullptr; record = record->next) {
    if (!is_swept(span_of(record->object))) slot_of(record->object).mark();
  }
}

bool take_ready(Ready &ready) {
  MutexLock guard(lock);
  Record *record = ready_first;
  if (record == nullptr) return false;
  ready_first = record->next;
  ready = {record->object, record->function, record->argument};
  record_allocator.free(record);
  return true;
}

bool any_ready() {
  MutexLock guard(lock);
  return ready_first != nullptr;
}

void lock_for_fork() NO_THREAD_SAFETY_ANALYSIS { lock.lock_for_fork(); }

void unlock_after_fork(bool in_child) NO_THREAD_SAFETY_ANALYSIS { lock.unlock_after_fork(in_child); }

}  // namespace warren::gc::specials
