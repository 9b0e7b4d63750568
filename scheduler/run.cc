// See run.h.
#include "scheduler/run.h"

#include "allocator/base/check.h"
#include "allocator/base/cpu_count.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "include/warren/scheduler_core.h"
#include "scheduler/g_status.h"
#include "scheduler/idle.h"
#include "scheduler/netpoll.h"
#include "scheduler/note.h"
#include "scheduler/poll_descriptor.h"
#include "scheduler/report.h"
#include "scheduler/rseq.h"
#include "scheduler/fiber.h"
#include "scheduler/stack.h"
#include "scheduler/switch.h"
#include "scheduler/sysmon.h"
#include "scheduler/take_p.h"
#include "scheduler/kernel_threads.h"
#include "scheduler/timer_thread.h"
#include "scheduler/world.h"

#include <cerrno>
#include <new>

namespace warren::scheduler {
namespace {

// One run, on the stack of who called wr_run.
struct Run {
  int (*main)(void *argument);
  void *argument;
  int result = 0;
  std::atomic<uint32_t> ended{0};  // note
};

std::atomic<bool> claimed{false};  // acquire and release: between one run's end and the next one's begin
bool prepared = false;             // by the first run
void (*end_hook)() = nullptr;      // set before the first run

int wanted_count() {
  const uint64_t wanted = options.maxprocs.load(std::memory_order_relaxed);
  return wanted != 0 && wanted != kNoLimit ? static_cast<int>(wanted) : usable_cpus();
}

void resize(int count) {
  if (count == sched.p_count.load(std::memory_order_relaxed)) return;
  M *m = this_m();
  if (m != nullptr) enter_runtime(m);
  stop_world();
  start_world(count);
  if (m != nullptr) {
    if (m->p.load(std::memory_order_relaxed) == nullptr) m = regain_p(m);
    leave_runtime(m);
  }
}

bool prepare() {
  if (prepared) return true;
  if (!netpoll::set_up()) return false;
  prepare_taking();
  restartable::open();
  report_set_up();
  if (!sysmon::start()) return false;
  prepared = true;
  return true;
}

// Nothing of this run's is to run again. All Ps are the caller's.
void forget_fibers() {
  netpoll::waiters.begin(sched.generation.fetch_add(1, std::memory_order_seq_cst) + 1);
  const int count = sched.p_count.load(std::memory_order_relaxed);
  for (int i = 0; i < count; ++i) {
    P *p = sched.ps[i].load(std::memory_order_relaxed);
    while (p->queue.take(false).item != nullptr) {
    }
    p->live.store(0, std::memory_order_relaxed);
    p->next_id = p->last_id = 0;
    p->timers.move_to(timer_thread::heap(), is_of_abandoned_sleep);
  }
  forget_abandoned_waits();
  sched.live_elsewhere.store(0, std::memory_order_relaxed);
  sched.last_id.store(0, std::memory_order_relaxed);
  MutexLock hold(sched.lock);
  sched.global = {};
  sched.global_size.store(0, std::memory_order_relaxed);
}

void run_main(void *argument) {
  auto *run = static_cast<Run *>(argument);
  const int result = run->main(run->argument);
  if (end_hook != nullptr) end_hook();
  M *m = this_m();
  enter_runtime(m);
  m->current->is_main = false;
  sched.active.store(false, std::memory_order_seq_cst);
  stop_world();
  forget_fibers();
  start_world(sched.p_count.load(std::memory_order_relaxed));
  run->result = result;
  note_wake(run->ended);
  leave_runtime_quietly(m);
}

}  // namespace

void follow_maxprocs() {
  if (sched.p_count.load(std::memory_order_relaxed) != 0) resize(wanted_count());
}

bool in_a_run() { return claimed.load(std::memory_order_relaxed); }

// They were idle. Generations go on: of fibers of earlier runs there may still be traces.
void reset_in_child() {
  const uint32_t generation = sched.generation.load(std::memory_order_relaxed);
  const int count = sched.p_count.load(std::memory_order_relaxed);
  for (int i = 0; i < count; ++i) {
    const P *p = sched.ps[i].load(std::memory_order_relaxed);
    if (!p->free.empty()) stacks::free(p->free, stacks::kDefaultOrder);
  }
  new (&sched) Scheduler;
  sched.generation.store(generation + 1, std::memory_order_relaxed);
  netpoll::waiters.begin(generation + 1);
  prepared = false;
}

void at_end_of_main(void (*hook)()) { end_hook = hook; }

void main_fiber_ends(G *g) {
  g->is_main = false;
  sched.main_ended.store(true, std::memory_order_relaxed);
}

}  // namespace warren::scheduler

using namespace warren::scheduler;

extern "C" {

int wr_run(int (*main)(void *argument), void *argument) {
  if (claimed.exchange(true, std::memory_order_acquire)) return -EBUSY;
  threads::keep_signal_mask();
  if (!prepare()) {
    claimed.store(false, std::memory_order_release);
    return -EAGAIN;
  }
  sched.waiting_thread.store(warren::os_calls::thread_id(), std::memory_order_relaxed);
  sched.main_ended.store(false, std::memory_order_relaxed);
  stop_world();
  Run run{main, argument};
  G *g = make_fiber(nullptr, run_main, &run, 0, stacks::kDefaultOrder, "main");
  if (g != nullptr) {
    g->is_main = true;
    warren::MutexLock hold(sched.lock);
    global_put(g);
  }
  int count = sched.p_count.load(std::memory_order_relaxed);
  if (count == 0) count = wanted_count();
  // Not over one that sleeps there since an earlier run. relaxed: as in find_runnable.cc.
  uint64_t last_poll = sched.last_poll.load(std::memory_order_relaxed);
  if (last_poll != kPolledNow) sched.last_poll.compare_exchange_strong(last_poll, now(), std::memory_order_relaxed);
  sched.coarse_time.store(now(), std::memory_order_relaxed);  // sysmon may sleep still
  sched.active.store(g != nullptr, std::memory_order_release);
  start_world(count);
  if (g == nullptr) {
    claimed.store(false, std::memory_order_release);
    return -ENOMEM;
  }
  bool started;
  {
    warren::MutexLock hold(sched.lock);
    started = sched.m_count != 0;
  }
  if (started) {
    note_sleep(run.ended);
    if (timer_thread::pending()) timer_thread::wake();
  } else {
    sched.active.store(false, std::memory_order_seq_cst);
    run.result = -EAGAIN;
  }
  claimed.store(false, std::memory_order_release);
  return run.result;
}

int wr_max_procs(int n) {
  int before = sched.p_count.load(std::memory_order_relaxed);
  if (before == 0) before = wanted_count();
  if (n <= 0) return before;
  if (n > kMostPs) n = kMostPs;
  warren::options.maxprocs.store(static_cast<uint64_t>(n), std::memory_order_relaxed);  // where a first run reads it
  follow_maxprocs();
  return before;
}

}  // extern "C"
