// See sysmon.h. Each round, as in Go: poll the network if nobody has for 10 ms, hurry Ps with timers that are due, take
// Ps from threads that block or compute, print traces, give back unused stacks and what
// parked fibers have used of theirs.
#include "scheduler/sysmon.h"

#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/own_threads.h"
#include "include/warren/scheduler_core.h"
#include "scheduler/clock.h"
#include "scheduler/deadlock.h"
#include "scheduler/idle.h"
#include "scheduler/netpoll.h"
#include "scheduler/note.h"
#include "scheduler/parked_stacks.h"
#include "scheduler/report.h"
#include "scheduler/stack.h"
#include "scheduler/take_p.h"
#include "scheduler/kernel_threads.h"
#include "scheduler/trace.h"

namespace warren::scheduler::sysmon {
namespace {

constexpr uint64_t kShortestSleep = 20 * kMicrosecond;
constexpr uint64_t kLongestSleep = 10 * kMillisecond;
constexpr unsigned kRoundsBeforeLonger = 50;

constexpr uint64_t kSlice = 10 * kMillisecond;
constexpr uint64_t kPollInterval = 10 * kMillisecond;
constexpr uint64_t kScavengeInterval = kSecond;
constexpr uint64_t kScavengeRest = 50 * kMillisecond;  // between two parts of one

std::atomic<bool> quit_requested{false};  // relaxed: the note orders it

uint64_t scavenged_at = 0;
stacks::Scavenged scavenged = stacks::Scavenged::kNothingLeft;
uint64_t trim_at = 0;  // when to look at the stacks of parked fibers, 0: when something has run

void poll_network(uint64_t time) {
  uint64_t last = sched.last_poll.load(std::memory_order_relaxed);
  if (last == kPolledNow || last + kPollInterval > time || !netpoll::waiters.any_hint()) return;
  if (!sched.last_poll.compare_exchange_strong(last, time, std::memory_order_seq_cst)) return;
  Batch<G> batch = netpoll::poll(0);
  inject(batch);
}

bool others_want_p(const P *p, uint64_t time) {
  return !p->queue.empty() || sched.global_size.load(std::memory_order_relaxed) != 0 || p->timers.next() <= time;
}

bool blocks_too_long(P *p, uint64_t time) {
  const uint32_t calls = p->blocking_calls.load(std::memory_order_relaxed);
  if (calls != p->seen_blocking_calls) {
    p->seen_blocking_calls = calls;
    p->seen_blocking_at = time;
    return false;
  }
  if (others_want_p(p, time)) return true;
  const bool others_can =
      sched.spinning.load(std::memory_order_relaxed) + sched.idle_p_count.load(std::memory_order_relaxed) != 0;
  // At last in any case: this thread cannot sleep before all Ps are idle.
  return !others_can || p->seen_blocking_at + kSlice <= time;
}

// Whether anything was done.
bool watch(P *p, uint64_t time) {
  if (p->status.load(std::memory_order_relaxed) != PStatus::kRunning) return false;
  const M *m = p->m.load(std::memory_order_acquire);  // pairs with acquire_p()
  if (m == nullptr) return false;
  if (p->timers.next() <= time) p->attention.store(1, std::memory_order_relaxed);
  const uint32_t slices = p->slices.load(std::memory_order_relaxed);
  if (slices != p->seen_slices) {
    p->seen_slices = slices;
    p->seen_slices_at = time;
    p->asked = false;
  }
  bool wanted = is_blocking(m) && blocks_too_long(p, time);
  // Of whoever is in short blocking calls most of the time no other look may come.
  if (!wanted && p->seen_slices_at + kSlice <= time) {
    if (!p->asked) {
      // First it is asked to yield by itself; it has until the next round.
      ask(p);
      p->attention.store(1, std::memory_order_relaxed);
      p->asked = true;
      return true;
    }
    wanted = others_want_p(p, time);
  }
  if (!wanted) return false;
  P *taken = take(p);
  if (taken == nullptr) return false;
  handoff_p(taken);
  return true;
}

bool watch_all(uint64_t time) {
  bool any = false;
  const int count = sched.p_count.load(std::memory_order_acquire);
  for (int i = 0; i < count && !sched.stopping.load(std::memory_order_relaxed); ++i) {
    any |= watch(sched.ps[i].load(std::memory_order_relaxed), time);
  }
  return any;
}

uint64_t scavenge_interval() { return scavenged == stacks::Scavenged::kUnfinished ? kScavengeRest : kScavengeInterval; }

void scavenge_stacks(uint64_t time) {
  if (time - scavenged_at < scavenge_interval()) return;
  scavenged_at = time;
  scavenged = stacks::scavenge();
}

void trim_stacks(uint64_t time) {
  if (time < trim_at) return;
  const uint64_t wait = parked_stacks::trim(time);
  trim_at = wait == 0 ? 0 : time + wait;
}

bool all_idle() {
  return sched.idle_p_count.load(std::memory_order_relaxed) ==
         static_cast<uint32_t>(sched.p_count.load(std::memory_order_relaxed));
}

// While nothing runs: 0 is for ever.
uint64_t longest_sleep(uint64_t time) {
  uint64_t longest = look_again_for_deadlock();
  const auto at_most = [&longest](uint64_t wait) { longest = longest == 0 || wait < longest ? wait : longest; };
  const uint64_t trace = options.schedtrace.load(std::memory_order_relaxed);
  if (trace != 0 && trace != kNoLimit) at_most(trace * kMillisecond);
  if (scavenged != stacks::Scavenged::kNothingLeft) at_most(scavenge_interval());
  if (trim_at != 0) at_most(trim_at > time ? trim_at - time : 1);
  return longest;
}

// Until a P is taken up. False: there is no reason to.
bool sleep_deeply() {
  {
    MutexLock hold(sched.lock);
    if (!all_idle() || quit_requested.load(std::memory_order_relaxed)) return false;
    note_clear(sched.sysmon_note);
    sched.sysmon_waiting.store(true, std::memory_order_relaxed);
  }
  // A request that came before the note was cleared.
  if (!quit_requested.load(std::memory_order_seq_cst)) {
    const uint64_t longest = longest_sleep(now());
    if (longest == 0) {
      note_sleep(sched.sysmon_note);
    } else {
      note_sleep_for(sched.sysmon_note, longest);
    }
  }
  MutexLock hold(sched.lock);
  sched.sysmon_waiting.store(false, std::memory_order_relaxed);
  return true;
}

OwnThread own;  // rests from its beginning: what it wakes is in a run, whose caller is there

void run() {
  own.begin();
  own.rest();
  uint64_t delay = kShortestSleep;
  for (unsigned idle_rounds = 0;; ++idle_rounds) {
    if (idle_rounds == 0) delay = kShortestSleep;
    if (idle_rounds > kRoundsBeforeLonger) delay = delay * 2 < kLongestSleep ? delay * 2 : kLongestSleep;
    os_calls::sleep(delay);
    if (quit_requested.exchange(false, std::memory_order_relaxed)) report_quit();
    if (all_idle() && sleep_deeply()) idle_rounds = 0;
    const uint64_t time = now();
    sched.coarse_time.store(time, std::memory_order_relaxed);
    poll_network(time);
    if (watch_all(time)) idle_rounds = 0;
    scavenge_stacks(time);
    trim_stacks(time);
    trace::print_if_due(time);
  }
}

}  // namespace

bool start() {
  return threads::start_plain(run, "warren-sysmon");
}

void request_quit() {
  quit_requested.store(true, std::memory_order_seq_cst);
  note_wake(sched.sysmon_note);
}

}  // namespace warren::scheduler::sysmon
