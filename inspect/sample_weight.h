// How many allocations a sampled one stands for. Caller: heap_profile.cc. Invariant: pure arithmetic, without libm.
#pragma once

#include <cstdint>

namespace warren::inspect {

// 1 - exp(-x) for x >= 0, to nine digits.
inline double chance_within(double x) {
  if (x > 40) return 1;
  // exp(-x) by the series for a small part of x, then squared; 1 - e^-2y = (1 - e^-y)(2 - (1 - e^-y)) keeps the digits.
  double part = x;
  int halvings = 0;
  for (; part > 0.03125; part /= 2) ++halvings;
  double chance = part * (1 - part / 2 * (1 - part / 3 * (1 - part / 4 * (1 - part / 5))));
  for (; halvings != 0; --halvings) chance *= 2 - chance;
  return chance;
}

// `rate`: the mean number of bytes between samples. At least 1.
inline double sample_weight(uint64_t size, uint64_t rate) {
  if (size == 0) return 1;
  const double weight = 1 / chance_within(static_cast<double>(size) / static_cast<double>(rate));
  return weight < 1 ? 1 : weight;
}

}  // namespace warren::inspect
