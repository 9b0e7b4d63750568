// Address arithmetic. Invariant: the casts between pointers and integers live here.
#pragma once

#include "allocator/base/config.h"

namespace warren {

inline uintptr_t address_of(const volatile void *p) { return reinterpret_cast<uintptr_t>(p); }

template <class T>
inline T *at_address(uintptr_t address) {
  return reinterpret_cast<T *>(address);
}

constexpr bool is_power_of_two(size_t n) { return n != 0 && (n & (n - 1)) == 0; }
constexpr size_t align_up(size_t n, size_t align) { return (n + align - 1) & ~(align - 1); }
constexpr size_t align_down(size_t n, size_t align) { return n & ~(align - 1); }

}  // namespace warren
