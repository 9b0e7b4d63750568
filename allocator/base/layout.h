// What a look from outside may read: names for the addresses of figures, and for the numbers one needs to walk structures.
// `warren top` and the gdb script find the record wr_layout by its symbol, check its magic and version, and read nothing that has no
// name there. So they need no debug information, and an old script with a new library says what it lacks instead of misreading.
//
// Callers: whoever owns a figure shows it beside its definition; inspect/layout.cc gathers them, the linker's help.
// Invariant: an entry is 16 bytes, so that the linker puts them side by side without a gap. The names, which nobody in the process
// reads, lie elsewhere: entries are relocated, and so in memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren {

inline constexpr size_t kLayoutNameBytes = 48;

struct LayoutEntry {
  constexpr LayoutEntry(const char *its_name, const volatile void *its_address) : name(its_name), address(its_address) {}
  constexpr LayoutEntry(const char *its_name, uint64_t its_number) : name(its_name), number(its_number) {}

  const char *name;  // kLayoutNameBytes of it, from '&' for an address or '#' for a number
  union {
    const volatile void *address;
    uint64_t number;
  };
};
static_assert(sizeof(LayoutEntry) == 16);

}  // namespace warren

#define WARREN_LAYOUT_NAME_(a, b) a##b
#define WARREN_LAYOUT_NAME(a, b) WARREN_LAYOUT_NAME_(a, b)

// At namespace scope.
#define WARREN_SHOW_(text, value, count)                                                                             \
  static constexpr char WARREN_LAYOUT_NAME(layout_name_, count)[::warren::kLayoutNameBytes]                          \
      __attribute__((section(".rodata.layout"))) = text;                                                             \
  [[maybe_unused]] static constinit ::warren::LayoutEntry WARREN_LAYOUT_NAME(layout_entry_, count)                   \
      __attribute__((section("warren_layout"), used)) = {WARREN_LAYOUT_NAME(layout_name_, count), value}
#define WARREN_SHOW_ADDRESS(name, place) WARREN_SHOW_("&" name, static_cast<const volatile void *>(place), __COUNTER__)
#define WARREN_SHOW_NUMBER(name, value) WARREN_SHOW_("#" name, uint64_t{value}, __COUNTER__)
