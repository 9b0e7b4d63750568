// What happens when the library is loaded and when the process ends.
// The constructor runs before every other library's (-z initfirst), the destructor after every other's.
// Invariant: neither allocates, opens a file or looks up a symbol; the heap itself is set up by
// the first malloc, which may come before or without the constructor.
#include "allocator/base/options.h"
#include "allocator/fork.h"
#include "allocator/heap.h"
#include "allocator/stats.h"
#include "preload/bypass.h"

namespace {

enum StatsOption : uint64_t { kStatsOff, kStatsExit };

__attribute__((constructor(101))) void on_load() {
  if (warren::bypass::active()) return;
  warren::heap::set_up();
  warren::fork_handlers::install();
}

__attribute__((destructor(101))) void on_exit() {
  if (warren::options.stats.load(std::memory_order_relaxed) == kStatsExit) warren::stats::print();
}

}  // namespace
