// What happens when the library is loaded and when the process ends.
// The constructor runs before every other library's (-z initfirst), the destructor after every other's.
// Invariant: neither allocates or looks up a symbol (but with gc=leaks, gc=collect and heap_dump, and in a program with operators of its
// own, replaced_operators.h); the heap itself is set up by the first malloc, which may come before or without the constructor.
#include "allocator/base/log.h"
#include "allocator/base/options.h"
#include "allocator/base/os_process.h"
#include "allocator/fork.h"
#include "allocator/heap.h"
#include "allocator/stats.h"
#include "gc/fork.h"
#include "gc/last_thread.h"
#include "gc/world.h"
#include "inspect/dump_request.h"
#include "inspect/heap_profile.h"
#include "inspect/layout.h"
#include "inspect/leaks.h"
#include "inspect/reclaim.h"
#include "inspect/snapshot.h"
#include "inspect/stuck_fibers.h"
#include "preload/bypass.h"
#include "preload/counted_entries.h"
#include "preload/fiber_roots.h"
#include "preload/replaced_operators.h"
#include "preload/start.h"
#include "preload/sudden_ends.h"

#include <cstdio>
#include <pthread.h>
#include <unistd.h>

extern "C" const char warren_starts = 0;

namespace {

// Nobody in the library refers to it: a program that is linked with the static one has it by way of this.
__attribute__((used)) const void *const layout_record = &wr_layout;

// Called by the C runtime's start of each library, and this one starts before libc: a program built with -pg would set its
// profile up, and allocate, without an environment. Its own start calls its own.
extern "C" __attribute__((weak, visibility("hidden"))) void __gmon_start__() {}

enum StatsOption : uint64_t { kStatsOff, kStatsExit, kStatsJson };

uint64_t wanted_statistics() { return warren::options.stats.load(std::memory_order_relaxed); }

namespace heap_profile = warren::inspect::heap_profile;

void install_profile_fork_handlers() {
  pthread_atfork(heap_profile::lock_for_fork, [] { heap_profile::unlock_after_fork(false); },
                 [] { heap_profile::unlock_after_fork(true); });
}

__attribute__((constructor(101))) void on_load() {
  if (warren::bypass::active()) return;
  warren::replaced_operators::make_way();
  // Without options the heap waits for the first malloc: /bin/true takes 93 us more than without, not 149.
  if (warren::os_process::environment(warren::kOptionsVariable) != nullptr) warren::heap::set_up();
  warren::fork_handlers::install();
  install_profile_fork_handlers();  // after the heap's: locks first, unlocks last; so do those that follow
  warren::fiber_roots::install();
  warren::gc::fork_handlers::install_for_rooted_memory();
  warren::gc::world::install_fork_handlers();
  warren::gc::fork_handlers::install_for_collector();
  warren::fork_handlers::install_last();
  if (wanted_statistics() != kStatsOff) warren::os_process::keep_stderr();
  warren::gc::last_thread::install();
  warren::inspect::leaks::set_up();
  if (warren::inspect::leaks::is_on()) warren::sudden_ends::watch();
  warren::inspect::stuck_fibers::set_up();
  heap_profile::set_up_from_options();
  if (heap_profile::has_started()) warren::counted_entries::redirect_all();
  warren::inspect::dump_request::install();  // after that: it starts a thread
  warren::inspect::reclaim::set_up();        // and so does this
}

__attribute__((destructor(101))) void on_exit() {
  heap_profile::dump_at_exit();
  warren::inspect::dump_request::at_exit();
  if (wanted_statistics() == kStatsExit) warren::stats::print(warren::os_process::keep_stderr());
  if (wanted_statistics() == kStatsJson) {
    wr_mem_stats now;
    wr_read_mem_stats(&now);
    warren::stats::print_json(now, warren::os_process::keep_stderr());
  }
  const bool stuck = warren::inspect::stuck_fibers::failed_at_exit();
  const bool leaked = warren::inspect::leaks::leaked_at_exit();
  if (!stuck && !leaked) return;
  fflush(nullptr);  // what exit would have done after this
  _exit(warren::inspect::snapshot::kFoundStatus);
}

}  // namespace
