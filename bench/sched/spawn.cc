// Claim: starting a fiber, running it to its end and taking its stack back takes 60 ns on one P, 70 on two.
// By fifty, since that is how programs do it: start some, wait for all.
#include "measure.h"

#include <warren/scheduler.h>

struct Job {
  warren::wait_group all;
  long ended = 0;  // with more than one P: not of all
};

static void nothing(void *argument) {
  auto *job = static_cast<Job *>(argument);
  ++job->ended;
  job->all.done();
}

int main(int argc, char **argv) {
  const long count = count_from(argc, argv, 2'000'000);
  warren::max_procs(procs_from(argc, argv));
  return warren::run([count] {
    Job job;
    const Stopwatch watch;
    for (long i = 0; i < count; i += 50) {
      job.all.add(50);
      for (int k = 0; k < 50; ++k) wr_go(nothing, &job, nullptr);
      job.all.wait();
    }
    watch.report("spawn and finish", static_cast<double>(count));
  });
}
