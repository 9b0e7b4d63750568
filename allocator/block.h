// What a pointer that the program hands in is. Callers: free's slow path, realloc, malloc_usable_size.
// Invariant: any word may be asked about, and nothing outside the heap's own maps is touched.
#pragma once

#include "allocator/object_map.h"
#include "allocator/page_map.h"

namespace warren {

struct Block {
  enum class Kind : uint8_t { kNone, kTiny, kSmall, kMedium, kLarge };
  Kind kind;
  SizeClass size_class;  // of tiny, small and medium
  uint8_t *mark;         // its byte in the object map
  bool sampled = false;  // which is kSampledMark
};

// A live block that the byte does not tell the class of.
inline Block sampled_block(uintptr_t pointer, uint8_t *mark) {
  const Span *span = page_map::at(arena.page_of(pointer));
  if (span->state == SpanState::kLarge) return {Block::Kind::kLarge, SizeClass{0}, mark, true};
  const bool small = info(span->size_class).object_size <= kMaxSmallSize;
  return {small ? Block::Kind::kSmall : Block::Kind::kMedium, span->size_class, mark, true};
}

// Each byte is read once: another thread that frees the block at the same time takes it away. (relaxed: what it says is all that counts.)
inline Block find_block(uintptr_t pointer) {
  const Block none{Block::Kind::kNone, SizeClass{0}, nullptr};
  if (!arena.contains(pointer) || (pointer & (kTinySize - 1)) != 0) return none;
  uint8_t *mark = object_map::fine(pointer);
  const uint8_t in_fine = __atomic_load_n(mark, __ATOMIC_RELAXED);
  if (in_fine == kTinyClass) return {Block::Kind::kTiny, SizeClass{kTinyClass}, mark};
  if (in_fine == object_map::kSampledMark) return sampled_block(pointer, mark);
  if (in_fine != 0) return in_fine < kSentinelMark ? Block{Block::Kind::kSmall, SizeClass{in_fine}, mark} : none;
  if ((pointer & ((size_t{1} << kCoarseShift) - 1)) != 0) return none;
  mark = object_map::coarse(pointer);
  const uint8_t in_coarse = __atomic_load_n(mark, __ATOMIC_RELAXED);
  if (in_coarse == object_map::kLargeMark) return {Block::Kind::kLarge, SizeClass{0}, mark};
  if (in_coarse == object_map::kSampledMark) return sampled_block(pointer, mark);
  return in_coarse != 0 && in_coarse < kSentinelMark ? Block{Block::Kind::kMedium, SizeClass{in_coarse}, mark} : none;
}

// Usable bytes of a block. A large one's span is the program's while the block lives.
inline size_t block_size(const Block &block, uintptr_t pointer) {
  if (block.kind == Block::Kind::kLarge) return page_map::at(arena.page_of(pointer))->bytes();
  return info(block.size_class).object_size;
}

}  // namespace warren
