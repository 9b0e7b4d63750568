// See parked_stacks.h. Every few seconds all fibers are looked at while they run, some at a time, which gives a list of
// those that may have something to give; these are looked at again, a few in each stop of the world. Each part is short:
// sysmon is who takes Ps from fibers that run for too long.
//
// Rejected: to claim a parked fiber for a moment. ready() makes it runnable by a plain store, so either that or each
// switch would have to look for the claim.
#include "scheduler/parked_stacks.h"

#include "gc/paged_array.h"
#include "scheduler/clock.h"
#include "scheduler/stack.h"
#include "scheduler/state.h"
#include "scheduler/world.h"

namespace warren::scheduler::parked_stacks {
namespace {

// Parked for so long: less gives back, and makes the kernel fill again, what the next request needs; more keeps it
// longer.
constexpr uint64_t kLong = 5 * kSecond;
// In one stop, some 100 us. More: longer stops. Fewer: more of them.
constexpr size_t kPerStop = 64;
constexpr uint64_t kRest = 20 * kMillisecond;  // between two of these
// Fibers that are looked at in one part: a system call for each that is parked, some 500 us. More: sysmon is away for longer.
// Fewer: a million of them take longer than kLong.
constexpr size_t kPerLook = 1024;
constexpr uint64_t kRestFromLooking = 2 * kMillisecond;

gc::PagedArray<G *> listed;
size_t done = 0;              // of the list
stacks::Position looked_to;   // the beginning: nobody is being looked for
uint64_t look_again = 0;      // when to begin anew
bool any_younger = false;     // were seen the last time, too young yet
uint64_t seen_slices = 0;     // that had begun then: none since, and nobody can have parked

// Read while the fiber may go on; a G is never unmapped, and what is found here is only a hint.
template <class T>
T peek(const T &field) {
  return __atomic_load_n(&field, __ATOMIC_RELAXED);
}

bool is_parked(const G *g) {
  return g->status.load(std::memory_order_acquire) == GStatus::kWaiting && !g->on_thread &&
         peek(g->generation) == sched.generation.load(std::memory_order_relaxed);
}

void look_at(G *g, void *context) {
  const uint64_t time = *static_cast<const uint64_t *>(context);
  const uint64_t since = peek(g->since);
  if (!is_parked(g) || g->trimmed == since) return;
  if (time < since + kLong) {
    any_younger = true;
  } else if (!stacks::may_have_unused(g)) {
    g->trimmed = since;
  } else {
    listed.push_back(g);  // without memory it stays as it is
  }
}

uint64_t slices() {
  uint64_t sum = 0;
  const int count = sched.p_count.load(std::memory_order_relaxed);
  for (int i = 0; i < count; ++i) {
    sum += sched.ps[i].load(std::memory_order_relaxed)->slices.load(std::memory_order_relaxed);
  }
  return sum;
}

void look_at_some(uint64_t time) {
  if (looked_to == stacks::Position{}) {
    seen_slices = slices();
    any_younger = false;
    look_again = time + kLong;
  }
  listed.clear();
  done = 0;
  looked_to = stacks::for_some(looked_to, kPerLook, look_at, &time);
}

void trim_some(uint64_t time) {
  stop_world();
  for (size_t i = 0; i < kPerStop && done < listed.size(); ++i, ++done) {
    G *g = listed[done];
    if (!is_parked(g) || time < g->since + kLong) continue;
    stacks::give_back_unused(g);
    g->trimmed = g->since;
  }
  start_world(sched.p_count.load(std::memory_order_relaxed));
}

}  // namespace

uint64_t trim(uint64_t time) {
  if (!stack_tools::kMayPeek) return 0;
  if (!sched.active.load(std::memory_order_acquire)) return 0;  // pairs with the release in wr_run
  if (done != listed.size()) {
    trim_some(time);
    return kRest;
  }
  if (looked_to != stacks::Position{} || time >= look_again) {
    look_at_some(time);
    return kRestFromLooking;
  }
  return any_younger || slices() != seen_slices ? look_again - time : 0;
}

}  // namespace warren::scheduler::parked_stacks
