// Claim: a yield between two fibers on one P takes 12 ns.
// g++ -O2 -std=c++20 -Ibuild/include bench/sched/yield.cc -Lbuild -lwarren -Wl,-rpath,$PWD/build;
// WARREN_CONF=maxprocs=1
#include "measure.h"

#include <warren/scheduler_core.h>

static long rounds;
static int ended = 0;

static void yields(void *) {
  for (long i = 0; i < rounds; ++i) wr_yield();
  ++ended;
}

int main(int argc, char **argv) {
  rounds = count_from(argc, argv, 5'000'000);
  wr_max_procs(1);
  return wr_run(
      [](void *) {
        const Stopwatch watch;
        wr_go(yields, nullptr, nullptr);
        yields(nullptr);
        while (ended != 2) wr_yield();
        watch.report("yield", static_cast<double>(rounds) * 2);
        return 0;
      },
      nullptr);
}
