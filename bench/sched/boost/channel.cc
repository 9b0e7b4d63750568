// The twin of ../channel.cc.
#include "../measure.h"

#include <boost/fiber/all.hpp>

int main(int argc, char **argv) {
  const long rounds = count_from(argc, argv, 5'000'000);
  boost::fibers::buffered_channel<long> c(128);
  const Stopwatch watch;
  boost::fibers::fiber sender([&] {
    for (long i = 0; i < rounds; ++i) c.push(i);
    c.close();
  });
  long sum = 0;
  for (const long value : c) sum += value;
  watch.report("channel of 128, an item", static_cast<double>(rounds));
  sender.join();
  return sum == rounds * (rounds - 1) / 2 ? 0 : 1;
}
