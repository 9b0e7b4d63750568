// See parked_stacks.h. Every few seconds all fibers are looked at while they run, which gives a list of some that may
// have something to give; these are looked at again, a few in each stop of the world.
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
// For the list: 64 KiB of addresses.
constexpr size_t kMostListed = 8192;

gc::PagedArray<G *> listed;
size_t done = 0;          // of the list
uint64_t look_again = 0;  // when to make the next list
bool any_younger = false;  // were seen the last time, too young yet
uint64_t seen_slices = 0;  // that had begun then: none since, and nobody can have parked

// Read while the fiber may go on; a G is never unmapped, and what is found here is only a hint.
template <class T>
T peek(const T &field) {
  return __atomic_load_n(&field, __ATOMIC_RELAXED);
}

struct Look {
  uint64_t time;
  bool any_younger = false;
  bool full = false;
};

bool is_parked(const G *g) {
  return g->status.load(std::memory_order_acquire) == GStatus::kWaiting && !g->on_thread &&
         peek(g->generation) == sched.generation.load(std::memory_order_relaxed);
}

void look_at(G *g, void *context) {
  auto &look = *static_cast<Look *>(context);
  const uint64_t since = peek(g->since);
  if (look.full || !is_parked(g) || g->trimmed == since) return;
  if (look.time < since + kLong) {
    look.any_younger = true;
  } else if (!stacks::may_have_unused(g)) {
    g->trimmed = since;
  } else {
    listed.push_back(g);  // without memory it stays as it is
    look.full = listed.size() >= kMostListed;
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

void make_list(uint64_t time) {
  Look look{time};
  seen_slices = slices();
  listed.clear();
  done = 0;
  stacks::for_each(look_at, &look);
  look_again = time + kLong;
  any_younger = look.any_younger || look.full;
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
  if (done == listed.size()) {
    if (time >= look_again) make_list(time);
    if (done == listed.size()) return any_younger || slices() != seen_slices ? look_again - time : 0;
  }
  trim_some(time);
  return kRest;
}

}  // namespace warren::scheduler::parked_stacks
