// Claim: a pair of wr_enter_blocking and wr_exit_blocking costs 5 ns when nobody wants the P.
// Run by hand: no peer has the thing.
#include "measure.h"

#include <warren/scheduler_core.h>

static long rounds;

int main(int argc, char **argv) {
  rounds = count_from(argc, argv, 20'000'000);
  wr_max_procs(1);
  return wr_run(
      [](void *) {
        const Stopwatch watch;
        for (long i = 0; i < rounds; ++i) {
          wr_enter_blocking();
          wr_exit_blocking();
        }
        watch.report("enter and exit blocking", static_cast<double>(rounds));
        return 0;
      },
      nullptr);
}
