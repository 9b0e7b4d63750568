// The twin of ../mutex.cc.
#include "../measure.h"

#include <boost/fiber/all.hpp>

#include <vector>

int main(int argc, char **argv) {
  const long rounds = count_from(argc, argv, 4'000'000) / 8;
  boost::fibers::mutex m;
  long counted = 0;
  std::vector<boost::fibers::fiber> all;
  const Stopwatch watch;
  for (int i = 0; i < 8; ++i) {
    all.emplace_back([mutex = &m, count = &counted, rounds] {
      for (long k = 0; k < rounds; ++k) {
        mutex->lock();
        ++*count;
        mutex->unlock();
      }
    });
  }
  for (auto &fiber : all) fiber.join();
  watch.report("mutex of 8 fibers", static_cast<double>(counted));
}
