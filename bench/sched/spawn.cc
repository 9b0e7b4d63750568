// Claim: starting a fiber, running it to its end and taking its stack back takes 60 ns on one P.
// Built and run as yield.cc.
#include "measure.h"

#include <warren/scheduler_core.h>

static long ended = 0;

static void nothing(void *) { ++ended; }

static long count;

int main(int argc, char **argv) {
  count = count_from(argc, argv, 3'000'000);
  wr_max_procs(1);
  return wr_run(
      [](void *) {
        const Stopwatch one_by_one;
        for (long i = 0; i < count; ++i) {
          wr_go(nothing, nullptr, nullptr);
          wr_yield();
        }
        one_by_one.report("spawn and finish, each", static_cast<double>(count));
        const Stopwatch by_fifty;
        ended = 0;
        for (long i = 0; i < count; i += 50) {
          for (int k = 0; k < 50; ++k) wr_go(nothing, nullptr, nullptr);
          wr_yield();
        }
        while (ended < count) wr_yield();
        by_fifty.report("spawn and finish, by fifty", static_cast<double>(ended));
        return 0;
      },
      nullptr);
}
