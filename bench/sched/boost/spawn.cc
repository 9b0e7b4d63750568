// The twin of ../spawn.cc. With Boost's cheapest stacks: a pool of them, as warren has.
#include "../measure.h"

#include <boost/fiber/all.hpp>

#include <memory>
#include <vector>

int main(int argc, char **argv) {
  const long count = count_from(argc, argv, 2'000'000);
  boost::fibers::pooled_fixedsize_stack stacks;
  std::vector<boost::fibers::fiber> some;
  some.reserve(50);
  const Stopwatch watch;
  for (long i = 0; i < count; i += 50) {
    for (int k = 0; k < 50; ++k) some.emplace_back(std::allocator_arg, stacks, [] {});
    for (auto &fiber : some) fiber.join();
    some.clear();
  }
  watch.report("spawn and finish", static_cast<double>(count));
}
