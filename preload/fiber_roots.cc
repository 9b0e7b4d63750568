// Tells the collector of the scheduler's stacks, which lies above it, and the scheduler of the collector's cycles, in which
// its idle threads help.
// Caller: start.cc. Invariant: where no fiber was ever started, nothing is visited.
#include "preload/fiber_roots.h"

#include "gc/assist.h"
#include "gc/cycle.h"
#include "gc/held_blocks.h"
#include "gc/stacks.h"
#include "gc/world.h"
#include "scheduler/find_runnable.h"
#include "scheduler/stacks.h"
#include "warren/sync.h"

namespace {

using warren::gc::VisitRange;

bool bounds_of(uintptr_t sp, uintptr_t *low, uintptr_t *high) {
  const auto bounds = warren::scheduler::stack_bounds_of(reinterpret_cast<const void *>(sp));
  *low = reinterpret_cast<uintptr_t>(bounds.low);
  *high = reinterpret_cast<uintptr_t>(bounds.high);
  return bounds.low != nullptr;
}

bool bounds_of_thread(uintptr_t thread_pointer, uintptr_t *low, uintptr_t *high) {
  const auto bounds = warren::scheduler::stack_of_thread(thread_pointer);
  *low = reinterpret_cast<uintptr_t>(bounds.low);
  *high = reinterpret_cast<uintptr_t>(bounds.high);
  return bounds.low != nullptr;
}

struct Visit {
  VisitRange visit;
  void *context;
};

void visit_stack(char *low, char *high, void *argument) {
  const auto *call = static_cast<const Visit *>(argument);
  call->visit(reinterpret_cast<uintptr_t>(low), reinterpret_cast<uintptr_t>(high), call->context);
}

// A fiber keeps what it was started with (the closure of go) as a thread does.
void visit_closure(void *closure, void *argument) {
  const auto *call = static_cast<const Visit *>(argument);
  const auto word = reinterpret_cast<uintptr_t>(&closure);
  warren::gc::held_blocks::for_each_in_control_block(word, word + sizeof closure, call->visit, call->context);
}

// Only in a stopped world is it known what lies around.
void visit_elsewhere(char *sp, void *argument) {
  const auto *call = static_cast<const Visit *>(argument);
  warren::gc::stacks::for_each_range_elsewhere(reinterpret_cast<uintptr_t>(sp), call->visit, call->context);
}

void for_each_parked(VisitRange visit, void *context) {
  Visit call{visit, context};
  warren::scheduler::for_each_parked_stack(visit_stack, visit_closure, visit_elsewhere, &call);
}

void for_each_parked_stack(VisitRange visit, void *context) {
  Visit call{visit, context};
  warren::scheduler::for_each_parked_stack(visit_stack, nullptr, nullptr, &call);
}

constexpr warren::scheduler::IdleWork kMarking{warren::gc::assist::is_wanted_of_idle, warren::gc::assist::mark_when_idle};
constexpr warren::gc::world::FiberStacks kStacks{bounds_of, bounds_of_thread, for_each_parked, for_each_parked_stack};

}  // namespace

namespace warren::fiber_roots {

void install() {
  gc::world::set_fiber_stacks(&kStacks);
  gc::cycle::at_end(wr_pool_cycle);
  scheduler::set_idle_work(&kMarking);
}

}  // namespace warren::fiber_roots
