// Claim: a select of two receives, and the send that its body makes, take 22 ns.
#include "measure.h"

#include <warren/scheduler.h>

int main(int argc, char **argv) {
  const long rounds = count_from(argc, argv, 3'000'000);
  warren::max_procs(procs_from(argc, argv));
  return warren::run([rounds] {
    const warren::chan<long> a = warren::make_chan<long>(1), b = warren::make_chan<long>(1);
    a.send(1);
    const Stopwatch watch;
    for (long i = 0; i < rounds; ++i) {
      warren::select(warren::on_recv(a, [&] { b.send(1); }), warren::on_recv(b, [&] { a.send(1); }));
    }
    watch.report("select of two and a send", static_cast<double>(rounds));
  });
}
