// Claim: a yield between two fibers on one P takes 12 ns.
#include "measure.h"

#include <warren/scheduler.h>

int main(int argc, char **argv) {
  const long rounds = count_from(argc, argv, 2'000'000);
  warren::max_procs(procs_from(argc, argv));
  return warren::run([rounds] {
    warren::wait_group both;
    const Stopwatch watch;
    for (int i = 0; i < 2; ++i) {
      both.go([rounds] {
        for (long k = 0; k < rounds; ++k) warren::yield();
      });
    }
    both.wait();
    watch.report("yield", static_cast<double>(rounds) * 2);
  });
}
