// See held_blocks.h.
#include "gc/held_blocks.h"

#include "allocator/block.h"

namespace warren::gc::held_blocks {
namespace {

// Where things are in libstdc++'s header of an exception (the Itanium C++ ABI), which lies before the object.
constexpr uintptr_t kNextAt = 32, kUnwindHeaderAt = 80;
// The first word of the unwinder's header: "GNUCC++", and 0 or 1 (for a rethrown copy) in the last place.
constexpr uint64_t kExceptionClass = 0x474e5543432b2b00;
constexpr int kMostNested = 64;

uint64_t word_at(uintptr_t address) { return __atomic_load_n(at_address<const uint64_t>(address), __ATOMIC_RELAXED); }

bool is_unwind_header(uintptr_t address) {
  return address % 8 == 0 && arena.contains(address) && (word_at(address) & ~uint64_t{1}) == kExceptionClass;
}

// The live block of a class around an address in the arena.
bool find_around(uintptr_t address, uintptr_t *low, uintptr_t *high) {
  const PageId page = arena.page_of(address);
  const Span *span = page_map::at(page);
  if (span == nullptr || !span->covers(page) || span->state != SpanState::kObjects) return false;
  const size_t size = info(span->size_class).object_size;
  *low = span->start() + span->index_of(address) * size;
  *high = *low + size;
  return *object_map::of_class(span->size_class, *low) != 0;
}

}  // namespace

void for_each_in_control_block(uintptr_t low, uintptr_t high, VisitRange visit, void *context) {
  for (uintptr_t at = low; at < high; at += sizeof(uintptr_t)) {
    const uintptr_t word = word_at(at);
    const Block block = find_block(word);
    if (block.kind == Block::Kind::kNone || block.kind == Block::Kind::kLarge) continue;
    visit(word, word + block_size(block, word), context);
  }
}

void for_each_exception(uintptr_t low, uintptr_t high, VisitRange visit, void *context) {
  for (uintptr_t at = low; at < high; at += sizeof(uintptr_t)) {
    const uintptr_t word = word_at(at);
    if (!arena.contains(word)) continue;
    uintptr_t header = is_unwind_header(word) ? word - kUnwindHeaderAt : is_unwind_header(word + kUnwindHeaderAt) ? word : 0;
    for (int nested = 0; header != 0 && nested < kMostNested; ++nested) {
      uintptr_t block, end;
      if (!arena.contains(header) || !find_around(header, &block, &end)) break;
      visit(block, end, context);
      header = word_at(header + kNextAt);
      if (!is_unwind_header(header + kUnwindHeaderAt)) header = 0;
    }
  }
}

}  // namespace warren::gc::held_blocks
