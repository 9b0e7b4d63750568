// See deadlock.h.
#include "scheduler/deadlock.h"

#include "allocator/base/os_process.h"
#include "allocator/base/os_thread.h"
#include "allocator/base/own_threads.h"
#include "include/warren/scheduler_core.h"
#include "scheduler/clock.h"
#include "scheduler/netpoll.h"
#include "scheduler/note.h"
#include "scheduler/timer_thread.h"

#include <cstdlib>
#include <dirent.h>

namespace warren::scheduler {
namespace {

bool anything_is_awaited() {
  if (netpoll::waiters.any() || timer_thread::pending()) return true;
  const int count = sched.p_count.load(std::memory_order_relaxed);
  for (int i = 0; i < count; ++i) {
    const P *p = sched.ps[i].load(std::memory_order_relaxed);
    if (p->timers.next() != kNever || !p->queue.empty()) return true;
  }
  return false;
}

// Not by its name: threads that fibers start have that of the thread they were started on.
bool is_ours(uint32_t thread_id) {
  return thread_id == sched.waiting_thread.load(std::memory_order_relaxed) || thread_id == os_thread::id() ||
         OwnThreads::is_one(os_process::id(), thread_id);
}

// A thread of the program's own may call into channels at any time.
bool foreign_threads() {
  DIR *tasks = opendir("/proc/self/task");
  if (tasks == nullptr) return true;
  bool found = false;
  while (const dirent *task = readdir(tasks)) {
    if (task->d_name[0] == '.') continue;
    if (!is_ours(static_cast<uint32_t>(strtoul(task->d_name, nullptr, 10)))) found = true;
  }
  closedir(tasks);
  return found;
}

// Nobody runs, but there are foreign threads. relaxed: sysmon looks at everything else under the lock.
std::atomic<bool> suspected{false};

constexpr uint64_t kFirstLook = 10 * kMillisecond;
constexpr uint64_t kLastLook = 10 * kSecond;  // so often for ever: a process whose threads do all the work is no deadlock
uint64_t next_look = kFirstLook;              // sysmon's

}  // namespace

bool nobody_runs() {
  if (!sched.active.load(std::memory_order_relaxed) || sched.stopping.load(std::memory_order_relaxed)) return false;
  return sched.m_count == sched.idle_m_count + sched.locked_waiting && sched.global.empty();
}

bool only_a_poller_runs() {
  return sched.active.load(std::memory_order_relaxed) && !sched.stopping.load(std::memory_order_relaxed) &&
         sched.m_count == sched.idle_m_count + sched.locked_waiting + 1 && sched.global.empty();
}

// seq_cst: it says that it sleeps, and then looks once more at the timers and for those who wait; who ends the last of these looks
// for it afterwards. One of the two comes second.
void rouse_poller() {
  if (sched.last_poll.load(std::memory_order_seq_cst) != kPolledNow) return;
  if (!anything_is_awaited()) netpoll::interrupt();
}

void report_deadlock() {
  if (anything_is_awaited()) return;  // who is woken by it looks again before it sleeps
  if (foreign_threads()) {
    // One that is about to end, or that the process will always have.
    suspected.store(true, std::memory_order_relaxed);
    if (this_m() != nullptr) note_wake(sched.sysmon_note);  // it may sleep without end by now
    return;
  }
  {
    MutexLock hold(sched.lock);
    if (!nobody_runs()) return;
  }
  wr_fatal_error(sched.main_ended.load(std::memory_order_relaxed)
                     ? "no fibers (main called exit_fiber) - deadlock!"
                     : "all fibers are asleep - deadlock!");
}

uint64_t look_again_for_deadlock() {
  if (!suspected.exchange(false, std::memory_order_relaxed)) return 0;
  bool deadlock;
  {
    MutexLock hold(sched.lock);
    deadlock = nobody_runs();
  }
  if (!deadlock) {
    next_look = kFirstLook;
    return 0;
  }
  report_deadlock();
  if (!suspected.load(std::memory_order_relaxed)) return 0;
  const uint64_t wait = next_look;
  if (next_look < kLastLook) next_look *= 2;
  return wait;
}

}  // namespace warren::scheduler
