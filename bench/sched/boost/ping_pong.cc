// The twin of ../ping_pong.cc.
#include "../measure.h"

#include <boost/fiber/all.hpp>

int main(int argc, char **argv) {
  const long rounds = count_from(argc, argv, 1'000'000);
  boost::fibers::unbuffered_channel<long> there, back;
  const Stopwatch watch;
  boost::fibers::fiber other([&] {
    for (const long value : there) back.push(value + 1);
  });
  long value = 0;
  for (long i = 0; i < rounds; ++i) {
    there.push(value);
    value = back.value_pop();
  }
  watch.report("ping-pong", static_cast<double>(rounds));
  there.close();
  other.join();
  return value == rounds ? 0 : 1;
}
