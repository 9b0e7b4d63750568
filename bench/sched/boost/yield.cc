// The twin of ../yield.cc.
#include "../measure.h"

#include <boost/fiber/all.hpp>

int main(int argc, char **argv) {
  const long rounds = count_from(argc, argv, 2'000'000);
  const auto yields = [rounds] {
    for (long k = 0; k < rounds; ++k) boost::this_fiber::yield();
  };
  const Stopwatch watch;
  boost::fibers::fiber one(yields), other(yields);
  one.join();
  other.join();
  watch.report("yield", static_cast<double>(rounds) * 2);
}
