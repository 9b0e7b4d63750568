// The size classes: request -> class -> object size, and the shape of each class's spans.
// Callers: the fast path (whose table is in each cache), central, page heap, stats.
// Invariant: the class of a request is the smallest that holds it and, for malloc, is 16-aligned.
#pragma once

#include "allocator/base/units.h"

namespace warren {

inline constexpr unsigned kClassCount = 68;  // 0 is "large"

struct SizeClassInfo {
  uint32_t object_size;
  uint32_t reciprocal;  // offset * reciprocal >> 32 == offset / object_size for every offset in a span
  uint16_t span_pages;
  uint16_t objects;
  uint16_t cache_slots;
};

inline constexpr SizeClassInfo kSizeClasses[kClassCount] = {
    {},
#define SIZE_CLASS(number, size, pages, objects, slots, reciprocal) {size, reciprocal, pages, objects, slots},
#include "allocator/size_class_table.inc"
#undef SIZE_CLASS
};

constexpr const SizeClassInfo &info(SizeClass size_class) { return kSizeClasses[size_class.value]; }

inline constexpr uint8_t kTinyClass = 1;          // 8-byte blocks
inline constexpr uint8_t kRoomyClass = 2;         // 16-byte blocks: what malloc takes for tiny requests, see Cache::pack_tiny_if_many
inline constexpr uint8_t kUnalignedClass = 3;     // 24 bytes: for the collector's heap, never for malloc
inline constexpr uint8_t kLastSmallClass = 32;
static_assert(kSizeClasses[kTinyClass].object_size == kTinySize);
static_assert(kSizeClasses[kLastSmallClass].object_size == kMaxSmallSize);
static_assert(kSizeClasses[kRoomyClass].object_size == 2 * kTinySize);
static_assert(kSizeClasses[kUnalignedClass].object_size == 24);
static_assert(kSizeClasses[kClassCount - 1].object_size == kMaxClassSize);

namespace size_class_detail {

// The smallest class from kFirst on that holds `size`, by walking the table, without kUnalignedClass if so told.
template <uint8_t kFirst, bool kWithUnaligned>
constexpr uint8_t search(size_t size) {
  uint8_t number = kFirst;
  while (kSizeClasses[number].object_size < size || (number == kUnalignedClass && !kWithUnaligned)) ++number;
  return number;
}

inline constexpr size_t kMediumStep = size_t{1} << kCoarseShift;

// The classes of the sizes 0, kStep, 2 * kStep, … up to kMost. As it stands: those that malloc may use.
template <size_t kMost, size_t kStep, uint8_t kFirst = 1, bool kWithUnaligned = false>
struct ClassTable {
  uint8_t class_of[kMost / kStep + 1]{};

  constexpr ClassTable() {
    for (size_t i = 0; i <= kMost / kStep; ++i) class_of[i] = search<kFirst, kWithUnaligned>(i * kStep);
  }
};

inline constexpr ClassTable<kMaxClassSize, kMediumStep> kMediumTable;
inline constexpr ClassTable<kMaxSmallSize, kTinySize> kSmallTable;
inline constexpr ClassTable<kMaxSmallSize, kTinySize, kRoomyClass> kQuickTable;

// Both tables, one behind the other, for who does not know beforehand which it needs.
struct JoinedTable {
  static constexpr size_t kSmall = kMaxSmallSize / kTinySize + 1;
  uint8_t class_of[kSmall + kMaxClassSize / kMediumStep + 1]{};

  constexpr JoinedTable() {
    for (size_t i = 0; i < kSmall; ++i) class_of[i] = kSmallTable.class_of[i];
    for (size_t i = 0; i <= kMaxClassSize / kMediumStep; ++i) class_of[kSmall + i] = kMediumTable.class_of[i];
  }
};

inline constexpr JoinedTable kJoinedTable;

// For each class, and each alignment up to a page, the first class from there on whose size is a multiple of it.
struct AlignedTable {
  static constexpr unsigned kLogs = 14;
  uint8_t class_of[kClassCount][16]{};

  constexpr AlignedTable() {
    for (unsigned log = 0; log < kLogs; ++log) {
      for (unsigned from = 1; from < kClassCount; ++from) {
        unsigned number = from;
        while (kSizeClasses[number].object_size % (uint32_t{1} << log) != 0) ++number;
        class_of[from][log] = static_cast<uint8_t>(number);
      }
    }
  }
};

inline constexpr AlignedTable kAlignedTable;
static_assert(kPageSize == size_t{1} << (AlignedTable::kLogs - 1));

}  // namespace size_class_detail

// For sizes up to kMaxSmallSize. All classes are multiples of kTinySize.
inline SizeClass class_of_small_size(size_t size) {
  return SizeClass{size_class_detail::kSmallTable.class_of[(size + kTinySize - 1) / kTinySize]};
}

// Likewise, on the fast paths: tiny requests are of kRoomyClass, until the thread's cache packs them.
constexpr SizeClass quick_class_of(size_t size) {
  return SizeClass{size_class_detail::kQuickTable.class_of[(size + kTinySize - 1) / kTinySize]};
}

// For kMaxSmallSize < size <= kMaxClassSize. All those classes are multiples of kMediumStep.
inline SizeClass class_of_medium_size(size_t size) {
  return SizeClass{size_class_detail::kMediumTable.class_of[(size + size_class_detail::kMediumStep - 1) >> kCoarseShift]};
}

// For any size up to kMaxClassSize, without a branch.
inline SizeClass class_of_class_size(size_t size) {
  const size_t small = (size + kTinySize - 1) / kTinySize;
  const size_t medium = size_class_detail::JoinedTable::kSmall + ((size + size_class_detail::kMediumStep - 1) >> kCoarseShift);
  const size_t is_medium = -static_cast<size_t>(size > kMaxSmallSize);
  return SizeClass{size_class_detail::kJoinedTable.class_of[small + (is_medium & (medium - small))]};
}

// The first class from `from` on all of whose objects are aligned to `align`, a power of two up to a page: spans start on pages.
inline SizeClass aligned_class(size_t align, SizeClass from) {
  return SizeClass{size_class_detail::kAlignedTable.class_of[from.value][static_cast<size_t>(__builtin_ctzll(align))]};
}

inline uint32_t object_index(SizeClass size_class, size_t offset_in_span) {
  return static_cast<uint32_t>(offset_in_span * info(size_class).reciprocal >> 32);
}

}  // namespace warren
