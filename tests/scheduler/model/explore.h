// Coroutines that change places where the code under test lets them, in an order drawn from a seed.
// Callers: model_lock.h, interleavings_test.cc, timer_interleavings_test.cc. Invariant: the same seed gives the same order.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace explore {

// Somebody, perhaps the caller, goes on.
void step();

// Runs all to their ends. False: those that are left wait for ever.
bool run(uint64_t seed, std::vector<std::function<void()>> bodies);

uint64_t random();  // of the seed

}  // namespace explore
