// See pacing.h.
#include "gc/pacing.h"

#include "allocator/arena.h"
#include "allocator/base/layout.h"
#include "allocator/base/mutex.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "allocator/page_heap.h"
#include "gc/heap.h"

namespace warren::gc::pacing {
namespace {

constinit Mutex lock(LockRank::kPacing);
constinit Pacer pacer GUARDED_BY(lock);
constinit CpuLimiter limiter GUARDED_BY(lock){1};
int percent GUARDED_BY(lock) = 100;
uint64_t seen_option GUARDED_BY(lock) = 0;  // gogc, when percent was taken from it
uint64_t globals_bytes GUARDED_BY(lock) = 0;
uint64_t old_scannable_bytes GUARDED_BY(lock) = 0;

// relaxed, all: targets, each of which stands alone.
std::atomic<uint64_t> published_trigger{uint64_t{4} << 20};
std::atomic<uint64_t> published_goal{uint64_t{4} << 20};
WARREN_SHOW_ADDRESS("gc.goal_bytes", &published_goal);
std::atomic<double> work_per_byte{0}, bytes_per_work{0};

Footprint footprint() {
  const page_heap::Stats pages = page_heap::stats();
  const uint64_t released = pages.released_pages * kPageSize, idle = pages.free_pages * kPageSize;
  const uint64_t sys = pages.grown_pages * kPageSize;
  return {sys - released, idle - released, heap::live_bytes.load(std::memory_order_relaxed)};
}

void publish_targets() REQUIRES(lock) {
  const uint64_t option = options.gogc.load(std::memory_order_relaxed);
  if (option != seen_option) {  // wr_conf_set
    seen_option = option;
    percent = option == kNoLimit ? -1 : static_cast<int>(option);
  }
  pacer.set_percent(percent);
  const uint64_t limit = options.memlimit.load(std::memory_order_relaxed);
  pacer.set_limit(limit == kNoLimit ? kNever : limit);
  const Targets targets = pacer.targets(footprint());
  published_trigger.store(targets.trigger, std::memory_order_relaxed);
  published_goal.store(targets.goal, std::memory_order_relaxed);
}

}  // namespace

void set_up() {
  MutexLock guard(lock);
  publish_targets();
}

bool is_time(uint64_t live_bytes) { return live_bytes >= published_trigger.load(std::memory_order_relaxed); }

void follow_options() {
  MutexLock guard(lock);
  publish_targets();
}

int set_percent(int value) {
  MutexLock guard(lock);
  publish_targets();
  const int before = percent;
  percent = value < 0 ? -1 : value;
  seen_option = value < 0 ? kNoLimit : static_cast<uint64_t>(value);
  options.gogc.store(seen_option, std::memory_order_relaxed);
  publish_targets();
  return before;
}

int64_t set_memory_limit(int64_t limit) {
  MutexLock guard(lock);
  const uint64_t before = options.memlimit.load(std::memory_order_relaxed);
  if (limit >= 0) {
    options.memlimit.store(limit == INT64_MAX ? kNoLimit : static_cast<uint64_t>(limit), std::memory_order_relaxed);
    publish_targets();
  }
  return before >= uint64_t{INT64_MAX} ? INT64_MAX : static_cast<int64_t>(before);
}

unsigned begin(unsigned procs, uint64_t globals, bool minor, uint64_t old_scannable) {
  MutexLock guard(lock);
  publish_targets();
  limiter.resize(procs);
  globals_bytes = globals;
  old_scannable_bytes = old_scannable;
  return pacer.start_cycle({os_calls::now(), heap::live_bytes.load(std::memory_order_relaxed), procs, globals, minor}).dedicated;
}

void revise(const ScanBytes &done) {
  const Footprint now = footprint();
  MutexLock guard(lock);
  Pacer::Progress progress;
  progress.heap_live = now.heap_bytes;
  const uint64_t scannable = heap::scannable_bytes.load(std::memory_order_relaxed);
  progress.scannable.heap = scannable - (old_scannable_bytes < scannable ? old_scannable_bytes : scannable);
  progress.scannable.globals = globals_bytes;
  progress.done = done;
  progress.is_limited = limiter.is_limiting();
  const Pace pace = pacer.revise(progress, now);
  work_per_byte.store(pace.work_per_byte, std::memory_order_relaxed);
  bytes_per_work.store(pace.bytes_per_work, std::memory_order_relaxed);
}

Pace pace() {
  return {work_per_byte.load(std::memory_order_relaxed), bytes_per_work.load(std::memory_order_relaxed),
          published_goal.load(std::memory_order_relaxed)};
}

uint64_t goal() { return published_goal.load(std::memory_order_relaxed); }

void end(const End &end) {
  MutexLock guard(lock);
  // The program has taken more since.
  heap::live_bytes.fetch_sub(end.heap - end.marked, std::memory_order_relaxed);
  heap::scannable_bytes.fetch_sub(end.heap_scannable - end.scannable, std::memory_order_relaxed);
  pacer.end_cycle({os_calls::now(), end.heap, end.marked, end.black, end.done, end.assist_time, end.background_time, 0,
                   end.minor, end.next_is_minor});
  limiter.note(os_calls::process_time(), end.assist_time + end.background_time);
  publish_targets();
}

void lock_for_fork() NO_THREAD_SAFETY_ANALYSIS { lock.lock_for_fork(); }

void unlock_after_fork(bool in_child) NO_THREAD_SAFETY_ANALYSIS { lock.unlock_after_fork(in_child); }

}  // namespace warren::gc::pacing
