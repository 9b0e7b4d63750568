// See collector_thread.h.
#include "gc/collector_thread.h"

#include "allocator/base/os_calls.h"
#include "gc/assist.h"
#include "gc/cycle.h"
#include "gc/phase.h"
#include "gc/world.h"

#include <atomic>
#include <cerrno>

namespace warren::gc::collector_thread {
namespace {

// Without a cycle for so long, one is run all the same (Go's figure).
constexpr uint64_t kMostIdle = uint64_t{120} * 1'000'000'000;

// Between two looks of a thread that waits for a cycle's end at whether it can help.
constexpr uint64_t kLook = 1'000'000;

constinit Mutex lock(LockRank::kCycle);
bool thread_started GUARDED_BY(lock) = false;
bool running GUARDED_BY(lock) = false;
uint32_t begun GUARDED_BY(lock) = 0;           // cycles
uint32_t wanted GUARDED_BY(lock) = 0;          // the number of the last cycle that somebody asked for
uint32_t last_forced GUARDED_BY(lock) = 0;     // and of the last that somebody waits for

// What the waiting sleep on: `wakes` the collector's thread, `done` (the number of the last cycle that ended) those who
// want one. release and acquire order what the cycle did before what they do next.
std::atomic<uint32_t> wakes{0};
std::atomic<uint32_t> done{0};

std::atomic<bool> asked{false};  // a cycle is on its way: not every allocation asks again. relaxed: a hint

bool is_before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

// Carries out a cycle if one is wanted and none is under way.
bool run_wanted() {
  bool forced;
  {
    const MutexLock guard(lock);
    if (running || !is_before(begun, wanted)) return false;
    running = true;
    ++begun;
    forced = !is_before(last_forced, begun);
  }
  cycle::run(forced);
  {
    const MutexLock guard(lock);
    running = false;
    done.store(begun, std::memory_order_release);
  }
  asked.store(false, std::memory_order_relaxed);
  os_calls::futex_wake(os_calls::futex_word(done), INT32_MAX);
  return true;
}

void want_one(bool forced, uint32_t *number, bool *start) {
  const MutexLock guard(lock);
  *number = begun + 1;
  if (is_before(wanted, *number)) wanted = *number;
  if (forced) last_forced = *number;
  *start = !thread_started;
  thread_started = true;
}

void body(void *) {
  // The passes over dirty pages let the program run for a tenth of a millisecond at a time. Where there are more threads than
  // processors, whoever is let go would keep this thread off for the milliseconds of an ordinary turn, and write meanwhile.
  if (!os_calls::filtered()) os_calls::take_short_turns();
  for (;;) {
    const uint32_t seen = wakes.load(std::memory_order_acquire);
    if (run_wanted()) continue;
    const long result = os_calls::futex_wait_for(os_calls::futex_word(wakes), seen, kMostIdle);
    if (result == -ETIMEDOUT) {
      uint32_t number;
      bool start;
      want_one(true, &number, &start);
    }
  }
}

// Returns the number of the cycle to wait for. *by_thread: the collector's thread will see to it.
uint32_t request(bool forced, bool *by_thread) {
  uint32_t number;
  bool start;
  want_one(forced, &number, &start);
  *by_thread = true;
  if (start && !world::start_collector_thread(body, nullptr, "warren-gc")) {
    const MutexLock guard(lock);
    thread_started = *by_thread = false;
    return number;
  }
  wakes.fetch_add(1, std::memory_order_release);
  os_calls::futex_wake(os_calls::futex_word(wakes), 1);
  return number;
}

}  // namespace

void ask() {
  if (asked.load(std::memory_order_relaxed) || asked.exchange(true, std::memory_order_relaxed)) return;
  bool by_thread;
  request(false, &by_thread);
  if (!by_thread) run_wanted();
}

bool asked_for() { return asked.load(std::memory_order_relaxed); }

void run_and_wait() {
  bool by_thread;
  const uint32_t number = request(true, &by_thread);
  for (;;) {
    const uint32_t seen = done.load(std::memory_order_acquire);
    if (!is_before(seen, number)) return;
    if (!by_thread && run_wanted()) continue;
    if (phase::is_marking()) {
      assist::help_once();
    } else {
      os_calls::futex_wait_for(os_calls::futex_word(done), seen, kLook);
    }
  }
}

void lock_for_fork() NO_THREAD_SAFETY_ANALYSIS { lock.lock_for_fork(); }

void unlock_after_fork(bool in_child) NO_THREAD_SAFETY_ANALYSIS {
  if (!in_child) return lock.unlock_after_fork(in_child);
  thread_started = running = false;
  wanted = begun;
  done.store(begun, std::memory_order_relaxed);
  asked.store(false, std::memory_order_relaxed);
  lock.unlock_after_fork(in_child);
}

}  // namespace warren::gc::collector_thread
