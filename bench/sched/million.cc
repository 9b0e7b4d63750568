// Claim: a million parked fibers take 1.5 s to start and 4.4 kB each.
// Built as yield.cc; on all Ps unless WARREN_CONF=maxprocs says otherwise.
#include "measure.h"

#include <warren/scheduler_core.h>

#include <atomic>

static std::atomic<long> parked{0};

static void parks(void *) {
  ++parked;
  wr_sleep_ns(int64_t{3600} * 1000000000);
}

static long count;

int main(int argc, char **argv) {
  count = count_from(argc, argv, 1'000'000);
  return wr_run(
      [](void *) {
        const double before = resident_bytes();
        const Stopwatch watch;
        for (long i = 0; i < count; ++i) {
          const int error = wr_go(parks, nullptr, nullptr);
          if (error != 0) {
            std::printf("fiber %ld: error %d\n", i, error);
            return 1;
          }
          if (i % 256 == 0) wr_yield();
        }
        while (parked != count) wr_yield();
        watch.report("start and park", static_cast<double>(count));
        std::printf("%-28s %8.0f bytes each\n", "resident", (resident_bytes() - before) / static_cast<double>(count));
        return 0;
      },
      nullptr);
}
