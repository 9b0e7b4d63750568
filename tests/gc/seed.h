// Random numbers that can be had again: the seed is printed, and WARREN_SEED sets it.
// Included by the collector's tests. Invariant: one seed in a process.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace warren::gc {

using Random = std::mt19937_64;

inline uint64_t seed() {
  static const uint64_t value = [] {
    const char *text = getenv("WARREN_SEED");
    const uint64_t chosen = text != nullptr ? strtoull(text, nullptr, 10) : std::random_device{}();
    printf("WARREN_SEED=%llu\n", static_cast<unsigned long long>(chosen));
    return chosen;
  }();
  return value;
}

}  // namespace warren::gc
