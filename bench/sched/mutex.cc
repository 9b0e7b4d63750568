// Claim: a mutex that 8 fibers share is locked and unlocked in 4 ns on one P, 13 on two.
#include "measure.h"

#include <warren/scheduler.h>

int main(int argc, char **argv) {
  const long rounds = count_from(argc, argv, 4'000'000) / 8;
  warren::max_procs(procs_from(argc, argv));
  return warren::run([rounds] {
    warren::mutex m;
    warren::wait_group all;
    long counted = 0;
    const Stopwatch watch;
    for (int i = 0; i < 8; ++i) {
      all.go([mutex = &m, count = &counted, rounds] {
        for (long k = 0; k < rounds; ++k) {
          mutex->lock();
          ++*count;
          mutex->unlock();
        }
      });
    }
    all.wait();
    watch.report("mutex of 8 fibers", static_cast<double>(counted));
    return counted == rounds * 8 ? 0 : 1;
  });
}
