// See fork.h. Nothing is locked around fork: what threads of the scheduler's share is made anew in the child, and what the
// program holds on to (timers, poll descriptors) was changed by none of them, or its list is dropped.
#include "scheduler/fork.h"

#include "scheduler/netpoll.h"
#include "scheduler/poll_descriptor.h"
#include "scheduler/report.h"
#include "scheduler/run.h"
#include "scheduler/stack.h"
#include "scheduler/take_p.h"
#include "scheduler/timer_thread.h"
#include "scheduler/world.h"

#include <pthread.h>

namespace warren::scheduler::fork_handlers {
namespace {

void in_child() {
  report_reset_in_child();
  if (in_a_run()) return;
  stacks::reset_in_child();
  reset_world_in_child();
  reset_taking_in_child();
  reset_polls_in_child();
  reset_waits_in_child();
  netpoll::reset_in_child();
  timer_thread::reset_in_child();
  reset_in_child();
}

}  // namespace

void install() {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, [] { pthread_atfork(nullptr, nullptr, in_child); });
}

}  // namespace warren::scheduler::fork_handlers
