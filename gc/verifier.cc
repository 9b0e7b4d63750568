// See verifier.h.
#include "gc/verifier.h"

#include "allocator/base/fatal.h"
#include "allocator/base/log.h"
#include "allocator/base/options.h"
#include "allocator/base/os_memory.h"
#include "allocator/page_map.h"
#include "gc/held_blocks.h"
#include "gc/malloc_roots.h"
#include "gc/page_tags.h"
#include "gc/paged_array.h"
#include "gc/rooted_memory.h"
#include "gc/roots.h"
#include "gc/specials.h"
#include "gc/world.h"

namespace warren::gc::verifier {
namespace {

struct Object {
  uintptr_t start;
  size_t size;
  bool noscan, marked;
};

bool find(uintptr_t word, Object &object) {
  if (!arena.contains(word)) return false;
  const PageId page = arena.page_of(word);
  const Span *span = page_map::at(page);
  if (span == nullptr || !span->covers(page) || span->state != SpanState::kCollected) return false;
  const bool large = span->size_class.is_large();
  object.size = large ? span->bytes() : info(span->size_class).object_size;
  object.noscan = span->noscan;
  const size_t index = (word - span->start()) / object.size;
  if (index >= (large ? 1 : info(span->size_class).objects)) return false;
  object.start = span->start() + index * object.size;
  const BitPair &pair = pairs_of(span)[index / 64];
  const uint64_t bit = uint64_t{1} << index % 64;
  object.marked = (pair.marked & bit) != 0;
  return (pair.allocated & bit) != 0;
}

// One at a time: the world is stopped.
uint64_t *seen = nullptr;  // a bit for each place where an object may start
PagedArray<uintptr_t> waiting;
bool out_of_memory = false;

void read(uintptr_t low, uintptr_t high, void *) {
  high = align_down(high, sizeof(uintptr_t));
  for (uintptr_t at = align_up(low, sizeof(uintptr_t)); at < high; at += sizeof(uintptr_t)) {
    Object object;
    if (!find(*at_address<const volatile uintptr_t>(at), object)) continue;
    const size_t place = (object.start - tables.start) / kMinObjectSize;
    const uint64_t bit = uint64_t{1} << place % 64;
    if ((seen[place / 64] & bit) != 0) continue;
    seen[place / 64] |= bit;
    if (!object.marked) fatal::missed_mark(at_address<void>(object.start), object.size, at_address<void>(at));
    if (!object.noscan && !waiting.push_back(object.start)) out_of_memory = true;
  }
}

void read_threads(uintptr_t low, uintptr_t high, void *) {
  read(low, high, nullptr);
  held_blocks::for_each_exception(low, high, read, nullptr);
}

void read_everything() {
  world::for_each_root_range(read_threads, nullptr);
  rooted_memory::for_each(read, nullptr);
  roots::for_each_data_range(read, nullptr);
  malloc_roots::for_each_range(read, nullptr);
  specials::for_each_root(read, nullptr);
  while (waiting.size() != 0) {
    const uintptr_t start = waiting[waiting.size() - 1];
    waiting.shrink(waiting.size() - 1);
    Object object;
    if (find(start, object)) read(object.start, object.start + object.size, nullptr);
  }
}

}  // namespace

void check_marks() {
  if (options.gc_verify.load(std::memory_order_relaxed) == 0) return;
  // A thread of the program's that collects has more on its stack by now than when it was scanned, and older words among it.
  if (!world::on_collector_thread()) return;
  const size_t bytes = align_up(tables.bytes / kMinObjectSize / 8 + sizeof(uint64_t), kOsPageSize);
  void *table = os_memory::reserve(bytes, kOsPageSize);
  out_of_memory = table == nullptr || os_memory::prepare(table, bytes, true) != os_memory::PrepareResult::kOk;
  if (!out_of_memory) {
    seen = static_cast<uint64_t *>(table);
    read_everything();
  }
  if (table != nullptr) os_memory::unreserve(table, bytes);
  if (!out_of_memory) return;
  LogLine line;
  line << "warren: gc_verify: no memory to check all of this cycle's marks";
  line.write_to(2);
}

}  // namespace warren::gc::verifier
