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

inline Block find_block(uintptr_t pointer) {
  const Block none{Block::Kind::kNone, SizeClass{0}, nullptr};
  if (!arena.contains(pointer) || (pointer & (kTinySize - 1)) != 0) return none;
  uint8_t *mark = object_map::fine(pointer);
  if (*mark == kTinyClass) return {Block::Kind::kTiny, SizeClass{kTinyClass}, mark};
  if (*mark == object_map::kSampledMark) return sampled_block(pointer, mark);
  if (*mark != 0) return *mark < kSentinelMark ? Block{Block::Kind::kSmall, SizeClass{*mark}, mark} : none;
  if ((pointer & ((size_t{1} << kCoarseShift) - 1)) != 0) return none;
  mark = object_map::coarse(pointer);
  if (*mark == object_map::kLargeMark) return {Block::Kind::kLarge, SizeClass{0}, mark};
  if (*mark == object_map::kSampledMark) return sampled_block(pointer, mark);
  return *mark != 0 && *mark < kSentinelMark ? Block{Block::Kind::kMedium, SizeClass{*mark}, mark} : none;
}

// Usable bytes of a block. A large one's span is the program's while the block lives.
inline size_t block_size(const Block &block, uintptr_t pointer) {
  if (block.kind == Block::Kind::kLarge) return page_map::at(arena.page_of(pointer))->bytes();
  return info(block.size_class).object_size;
}

}  // namespace warren
