// Claim: a mutex that nobody else wants is locked and unlocked in 4 ns.
// g++ -O2 -std=c++20 -Ibuild/include bench/sched/mutex.cc -Lbuild -lwarren -Wl,-rpath,$PWD/build;
// WARREN_CONF=maxprocs=1
#include "measure.h"

#include <warren/scheduler.h>

int main(int argc, char **argv) {
  const long rounds = count_from(argc, argv, 5'000'000);
  warren::max_procs(1);
  return warren::run([rounds] {
    warren::mutex m;
    const Stopwatch watch;
    for (long i = 0; i < rounds; ++i) {
      m.lock();
      m.unlock();
    }
    watch.report("mutex", static_cast<double>(rounds));
  });
}
