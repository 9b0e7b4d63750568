// Claim: a value there and one back over two channels without capacity take 60 ns on one P, 80 on two.
#include "measure.h"

#include <warren/scheduler.h>

int main(int argc, char **argv) {
  const long rounds = count_from(argc, argv, 1'000'000);
  warren::max_procs(procs_from(argc, argv));
  return warren::run([rounds] {
    const auto there = warren::make_chan<long>(), back = warren::make_chan<long>();
    const Stopwatch watch;
    warren::go([there, back] {
      for (const long value : there) back.send(value + 1);
    });
    long value = 0;
    for (long i = 0; i < rounds; ++i) {
      there.send(value);
      value = *back.recv();
    }
    watch.report("ping-pong", static_cast<double>(rounds));
    return value == rounds ? 0 : 1;
  });
}
