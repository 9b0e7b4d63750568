// What a look from outside may read: names for the addresses of figures, and for the numbers one needs to walk structures.
// `warren top` and the gdb script find the record wr_layout by its symbol, check its magic and version, and read nothing that has no
// name there. So they need no debug information, and an old script with a new library says what it lacks instead of misreading.
//
// Callers: whoever owns a figure shows it beside its definition; inspect/layout.cc gathers them, the linker's help.
// Invariant: an entry is 64 bytes, so that the linker puts them side by side without a gap.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren {

struct alignas(64) LayoutEntry {
  char name[48];
  const volatile void *address;
  uint64_t number;
};
static_assert(sizeof(LayoutEntry) == 64);

}  // namespace warren

#define WARREN_LAYOUT_NAME_(a, b) a##b
#define WARREN_LAYOUT_NAME(a, b) WARREN_LAYOUT_NAME_(a, b)

// At namespace scope. Not const: entries with and without a relocation must be of one section.
#define WARREN_SHOW_ADDRESS(name, place)                                                             \
  [[maybe_unused]] static constinit ::warren::LayoutEntry WARREN_LAYOUT_NAME(layout_entry_, __COUNTER__) \
      __attribute__((section("warren_layout"), used)) = {name, place, 0}
#define WARREN_SHOW_NUMBER(name, value)                                                              \
  [[maybe_unused]] static constinit ::warren::LayoutEntry WARREN_LAYOUT_NAME(layout_entry_, __COUNTER__) \
      __attribute__((section("warren_layout"), used)) = {name, nullptr, value}
