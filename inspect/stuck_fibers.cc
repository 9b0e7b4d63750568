// See stuck_fibers.h.
//
//   word that leads to       makes reachable
//   a block, a mapping       all of it (reach.h)
//   a parked fiber's stack   what is in use of it: who points there has an object that lies on it
//   a fiber's G              nothing: run queues are full of old ones, and so are stacks. Who is about to make a fiber
//                            ready, and has nothing but its G, has taken it out of its queue first
#include "inspect/stuck_fibers.h"

#include "allocator/base/annotations.h"
#include "allocator/base/address.h"
#include "allocator/base/log.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_process.h"
#include "gc/paged_array.h"
#include "gc/rooted_memory.h"
#include "gc/specials.h"
#include "gc/stacks.h"
#include "inspect/frame_names.h"
#include "inspect/leak_roots.h"
#include "inspect/reach.h"
#include "inspect/snapshot.h"
#include "inspect/stuck_report.h"
#include "scheduler/awaited.h"
#include "scheduler/run.h"
#include "scheduler/stack.h"

namespace warren::inspect::stuck_fibers {
namespace {

using scheduler::G;
using scheduler::GStatus;
using scheduler::WokenBy;

enum Option : uint64_t { kOff, kExit, kFail };

WARREN_WRITTEN_AT_START uint64_t wanted = kOff;
uint64_t process = 0;  // whose end is looked at; a forked child's is not
bool found_any = false;

void complain(const char *what) {
  LogLine line;
  line << "warren: stuck: " << what;
  line.write_to(2);
}

// --- in the copy ---

enum Value : unsigned { kStuck, kError };
enum Error : uint64_t { kNone, kNoMemory, kNoMappings };

struct Candidate {
  const G *g;
  bool alive;
};
gc::PagedArray<Candidate> candidates;
gc::PagedArray<const G *> running;  // or will by themselves
bool out_of_memory = false;

// In a coroutine of the program's, whose stack may hold what nobody knows of.
bool is_elsewhere(const G *g) { return scheduler::stacks::in_use_from(g) != address_of(g->sp); }

void sort_out(G *g, void *) {
  const GStatus status = g->status.load(std::memory_order_relaxed);  // the threads are stopped
  if (status == GStatus::kDead) return;
  if (status != GStatus::kWaiting) {
    out_of_memory |= !running.push_back(g);
  } else if (g->generation != scheduler::sched.generation.load(std::memory_order_relaxed)) {
    return;  // of a run that has ended
  } else if (scheduler::woken_by(g) == WokenBy::kOthers || is_elsewhere(g)) {
    out_of_memory |= !running.push_back(g);
  } else {
    out_of_memory |= !candidates.push_back({g, false});
    reach::add_mapping(scheduler::stacks::in_use_from(g), address_of(g));
  }
}

void scan_argument(const G *g) { reach::scan_word(address_of(g->argument)); }

void scan_stack(const G *g) {
  scan_argument(g);
  if (is_elsewhere(g)) {
    const auto scan = [](uintptr_t low, uintptr_t high, void *) { reach::scan_range(low, high); };
    gc::stacks::for_each_range_elsewhere(address_of(g->sp), scan, nullptr);
  }
  const GStatus status = g->status.load(std::memory_order_relaxed);
  const bool runs = status == GStatus::kRunning || status == GStatus::kReadied;
  if (!runs) return reach::scan_range(scheduler::stacks::in_use_from(g), address_of(g));
  // What a thread is on was searched with the thread. Else its thread has left it for another stack, nobody knows where.
  if (snapshot::any_thread_on(address_of(g->low), address_of(g))) return;
  reach::scan_touched(address_of(g->low), address_of(g));
  reach::finish();
}

void make_alive(Candidate &candidate) {
  candidate.alive = true;
  reach::scan_word(address_of(candidate.g->sp));  // its stack is a mapping to reach
  scan_argument(candidate.g);
}

bool can_be_woken(const G *g) {
  bool any = false;
  scheduler::for_each_awaited(
      g, [](uintptr_t object, void *found) { *static_cast<bool *>(found) |= reach::is_reached_around(object); }, &any);
  return any || !scheduler::is_queued(g);
}

void follow() {
  for (const G *g : running) scan_stack(g);
  for (bool changed = true; changed;) {
    changed = false;
    for (Candidate &candidate : candidates) {
      if (candidate.alive || !can_be_woken(candidate.g)) continue;
      make_alive(candidate);
      changed = true;
    }
  }
}

void search_copy(uint64_t (&values)[4]) {
  leak_roots::note_kernel_words();
  const int report_fd = os_process::keep_stderr();
  os_calls::close_all_but(report_fd, -1);
  gc::rooted_memory::forget_all();
  values[kError] = kNoMemory;
  if (!reach::prepare(reach::EndPointers::kFew)) return;
  if (!leak_roots::read_mappings()) {
    values[kError] = kNoMappings;
    return;
  }
  scheduler::stacks::for_each(sort_out, nullptr);
  leak_roots::scan_all_but_fibers();
  // A finalizer may wake somebody when it runs.
  gc::specials::for_each_marking_root(
      [](uintptr_t low, uintptr_t high, void *) { reach::scan_range(low, high); }, nullptr);
  follow();
  if (out_of_memory || reach::ran_out_of_memory() || !frame_names::read()) return;
  stuck_report::Fibers stuck;
  for (const Candidate &candidate : candidates) {
    if (!candidate.alive && !stuck.push_back({candidate.g, 0})) return;
  }
  values[kStuck] = stuck.size();
  if (!stuck_report::write(report_fd, stuck, candidates.size() + running.size())) return;
  values[kError] = kNone;
}

// --- in the program ---

void at_end_of_main() {
  if (os_process::id() == process && check() > 0) found_any = true;
}

}  // namespace

WARREN_AT_START void set_up() {
  wanted = options.stuck.load(std::memory_order_relaxed);
  if (wanted == kOff) return;
  process = os_process::id();
  os_process::keep_stderr();
  scheduler::at_end_of_main(at_end_of_main);
}

int64_t check() {
  if (!scheduler::sched.active.load(std::memory_order_acquire)) return 0;  // pairs with the release in wr_run
  leak_roots::set_up();
  frame_names::find_demangler();
  const snapshot::Outcome outcome = snapshot::take(search_copy);
  if (const char *why = snapshot::failure(outcome)) {
    complain(why);
    return -1;
  }
  switch (outcome.values[kError]) {
    case kNone: return static_cast<int64_t>(outcome.values[kStuck]);
    case kNoMappings: complain("/proc/self/maps cannot be read"); break;
    default: complain("no memory for the search"); break;
  }
  return -1;
}

WARREN_AT_START bool failed_at_exit() {
  if (wanted == kOff || os_process::id() != process) return false;
  if (check() > 0) found_any = true;  // the program ends in the middle of a run
  return wanted == kFail && found_any;
}

}  // namespace warren::inspect::stuck_fibers
