// Numbers that must not be mixed up: page numbers, page counts, size classes.
// Used in every interface between the layers of the heap. Conversions are explicit only.
#pragma once

#include "allocator/base/config.h"

#include <compare>

namespace warren {

struct PageCount {
  uint32_t value = 0;
  constexpr size_t bytes() const { return size_t{value} << kPageShift; }
  static constexpr PageCount covering(size_t bytes) {
    return PageCount{static_cast<uint32_t>((bytes + kPageSize - 1) >> kPageShift)};
  }
  constexpr auto operator<=>(const PageCount &) const = default;
};

// A page of the arena, counted from its start.
struct PageId {
  uint32_t value = 0;
  constexpr auto operator<=>(const PageId &) const = default;
};

constexpr PageId operator+(PageId page, PageCount count) { return PageId{page.value + count.value}; }
constexpr PageCount operator+(PageCount a, PageCount b) { return PageCount{a.value + b.value}; }
constexpr PageCount operator-(PageCount a, PageCount b) { return PageCount{a.value - b.value}; }
constexpr PageCount operator-(PageId a, PageId b) { return PageCount{a.value - b.value}; }

// 1..67; 0 stands for "a run of pages of its own" (large).
struct SizeClass {
  uint8_t value = 0;
  constexpr bool is_large() const { return value == 0; }
  constexpr auto operator<=>(const SizeClass &) const = default;
};

}  // namespace warren
