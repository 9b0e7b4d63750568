// See fork.h.
#include "gc/fork.h"

#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/stop_gate.h"
#include "gc/assist.h"
#include "gc/cache.h"
#include "gc/collector_thread.h"
#include "gc/cycle.h"
#include "gc/dirty_pages.h"
#include "gc/finalizer_thread.h"
#include "gc/mark_work.h"
#include "gc/mark_workers.h"
#include "gc/pacing.h"
#include "gc/phase.h"
#include "gc/rooted_memory.h"
#include "gc/span_set.h"
#include "gc/specials.h"
#include "gc/world.h"

#include <pthread.h>

namespace warren::gc::fork_handlers {
namespace {

// A thread that cannot be stopped (in sigsuspend, say, with everything blocked) does not keep others from forking: the locks alone
// keep the lists whole, and the child sees to the spans that a thread had in hand. Longer: such forks take longer. Less: where
// processors are scarce, a fork more often finds threads in the middle of something.
constexpr uint64_t kLongestWait = 300'000'000;

// What prepare() has done. Only the forking thread's: it holds the locks that say so.
bool locked_set_up = false;
bool locked_background = false;
bool stopped = false;
bool in_the_middle = false;  // of a change to the heap: a handler forks that has interrupted it, and the child goes on with it
bool active = false;

// A thread that sets the collector up this very moment is let finish. False: there is no collector.
bool wait_for_set_up() NO_THREAD_SAFETY_ANALYSIS {
  if (cycle::is_set_up()) return true;
  locked_set_up = cycle::set_up_lock.lock_for_fork();
  if (!cycle::is_set_up()) return false;
  if (locked_set_up) cycle::set_up_lock.unlock_after_fork(false);
  return true;
}

// The collector's own thread does not fork, and nobody forks inside the stop gate.
void prepare() NO_THREAD_SAFETY_ANALYSIS {
  active = wait_for_set_up();
  in_the_middle = stop_gate::inside != 0;
  locked_background = cycle::background_lock.lock_for_fork();  // those have it, too, who copy a process without a collector
  if (!active) return;
  stopped = locked_background && world::stop(kLongestWait);
  collector_thread::lock_for_fork();
  specials::lock_for_fork();
  caches::lock_for_fork();
  span_sets_for_fork::lock();
  pacing::lock_for_fork();
  rooted_memory::lock_for_fork();
  mark_work::lock_for_fork();
  if (stopped) world::let_run();
}

void release(bool in_child) NO_THREAD_SAFETY_ANALYSIS {
  mark_work::unlock_after_fork(in_child);
  rooted_memory::unlock_after_fork(in_child);
  pacing::unlock_after_fork(in_child);
  span_sets_for_fork::unlock(in_child);
  caches::unlock_after_fork(in_child);
  specials::unlock_after_fork(in_child);
  collector_thread::unlock_after_fork(in_child);
  if (stopped) world::start();
  if (locked_background) cycle::background_lock.unlock_after_fork(in_child);
}

void release_without_collector(bool in_child) NO_THREAD_SAFETY_ANALYSIS {
  if (locked_background) cycle::background_lock.unlock_after_fork(in_child);
  if (locked_set_up) cycle::set_up_lock.unlock_after_fork(in_child);
}

void in_parent() NO_THREAD_SAFETY_ANALYSIS {
  if (active) return release(false);
  release_without_collector(false);
}

// Marks of a cycle that will not be finished: spans are swept while one marks.
void drop_marks() {
  const size_t pages = tables.bytes >> kPageShift;
  for (size_t page = 0; page < pages; ++page) {
    if (tables.tags[page] == 0) continue;
    const PageId id{static_cast<uint32_t>(page)};
    page_map::at(id)->born_black = false;
    BitPair *pairs = pairs_of(id);
    for (size_t i = 0; i < kBitmapBytesPerPage / sizeof(BitPair); ++i) pairs[i].marked = 0;
  }
}

void in_child() NO_THREAD_SAFETY_ANALYSIS {
  if (!active) return release_without_collector(true);
  release(true);
  if (phase::is_marking()) {
    drop_marks();
    phase::current.store(phase::Phase::kSweep, std::memory_order_relaxed);
  }
  assist::reset_in_child();
  const bool rebuild = !stopped && !in_the_middle;
  caches::reset_in_child(!rebuild);
  if (rebuild) span_sets_for_fork::rebuild_in_child(caches::has_mine);
  mark_workers::reset_in_child();
  dirty_pages::reset_in_child();
  // Finalizers that are ready wait for the child's first cycle: a thread made here would fork or print while handlers that come
  // after this one reset the very locks that it holds.
  finalizer_thread::reset_in_child();
}

}  // namespace

WARREN_AT_START void install_for_rooted_memory() {
  const auto lock = [] {
    if (!active) rooted_memory::lock_for_fork();
  };
  const auto unlock = [] {
    if (!active) rooted_memory::unlock_after_fork(false);
  };
  const auto reset = [] {
    if (!active) rooted_memory::unlock_after_fork(true);
  };
  pthread_atfork(lock, unlock, reset);
}

WARREN_AT_START void install_for_collector() {
  WARREN_WRITTEN_AT_START static bool installed = false;  // by the constructor, or under the lock of the set-up
  if (installed) return;
  installed = true;
  pthread_atfork(prepare, in_parent, in_child);
}

}  // namespace warren::gc::fork_handlers
