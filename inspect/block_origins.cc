// See block_origins.h. An entry's place: the span's first page and the block's number in the span. So the entries of a
// span lie together, and pages of the table that would belong to the middle of large objects are never touched.
#include "inspect/block_origins.h"

#include "allocator/base/address.h"
#include "allocator/base/os_calls.h"
#include "allocator/object_map.h"
#include "allocator/page_map.h"
#include "inspect/stack_table.h"
#include "inspect/stack_trace.h"

#include <cstring>
#include <sys/mman.h>

namespace warren::inspect::block_origins {
namespace {

constexpr unsigned kFrames = 40;
constexpr size_t kSlotsPerPage = kPageSize / kTinySize;

Origin *table = nullptr;
size_t slots = 0;

Origin *slot_of(uintptr_t block) {
  if (table == nullptr || !arena.contains(block)) return nullptr;
  const Span *span = page_map::at(arena.page_of(block));
  if (span == nullptr) return nullptr;
  const size_t index = span->state == SpanState::kObjects ? span->index_of(block) : 0;
  const size_t slot = span->first.value * kSlotsPerPage + index;
  return slot < slots ? table + slot : nullptr;
}

}  // namespace

bool set_up() {
  // As much address space as the largest arena that may be had, less where the kernel refuses that.
  for (size_t bytes = size_t{1} << 40; bytes >= size_t{1} << 30; bytes /= 2) {
    constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    const long mapped = os_calls::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, kFlags);
    if (os_calls::failed(mapped)) continue;
    table = reinterpret_cast<Origin *>(mapped);
    slots = bytes / sizeof(Origin);
    return true;
  }
  return false;
}

void note(void *block, size_t size) {
  const Span *span = arena.contains(address_of(block)) ? page_map::at(arena.page_of(address_of(block))) : nullptr;
  // A large block may be one that has just been moved, contents and all.
  if (span != nullptr && span->state == SpanState::kObjects) memset(block, 0, info(span->size_class).object_size);
  Origin *slot = slot_of(address_of(block));
  if (slot == nullptr) return;
  void *frames[kFrames];
  const unsigned count = capture(frames, kFrames);
  *slot = {stack_table::record(frames, count), size <= 0xffffffff ? static_cast<uint32_t>(size) : 0};
}

Origin of(uintptr_t block) {
  const Origin *slot = slot_of(block);
  return slot == nullptr ? Origin{0, 0} : *slot;
}

void for_each_own_range(void (*visit)(uintptr_t low, uintptr_t high, void *context), void *context) {
  visit(address_of(table), address_of(table) + slots * sizeof(Origin), context);
}

}  // namespace warren::inspect::block_origins
