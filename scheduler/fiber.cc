// See fiber.h.
#include "scheduler/fiber.h"

#include "allocator/base/address.h"
#include "allocator/base/check.h"
#include "include/warren/scheduler_core.h"
#include "scheduler/g_status.h"
#include "scheduler/idle.h"
#include "scheduler/run.h"
#include "scheduler/stack.h"
#include "scheduler/switch.h"

#include <cerrno>
#include <cstring>

namespace warren::scheduler {
namespace {

// Dead fibers that a P keeps; half of them go when there are more, and as many come when there are none.
constexpr uint32_t kFreeFibers = 64;

// What a new thread has, too.
constexpr uint32_t kDefaultMxcsr = 0x1f80;
constexpr uint16_t kDefaultX87Control = 0x037f;

constexpr uint64_t kIdBatch = 16;

uint64_t new_id(P *p) {
  if (p == nullptr) return sched.next_id.fetch_add(1, std::memory_order_relaxed);
  if (p->next_id == p->last_id) {
    p->next_id = sched.next_id.fetch_add(kIdBatch, std::memory_order_relaxed);
    p->last_id = p->next_id + kIdBatch;
  }
  return p->next_id++;
}

G *take_free(P *p, unsigned order) {
  if (p == nullptr || order != stacks::kDefaultOrder) return stacks::allocate(order);
  if (p->free.empty()) p->free = stacks::allocate_some(order, kFreeFibers / 2);
  return p->free.pop();
}

void count_live(P *p, int64_t by) {
  if (p != nullptr) {
    bump(p->live, by);
  } else {
    sched.live_elsewhere.fetch_add(by, std::memory_order_relaxed);
  }
}

WARREN_ALWAYS_INLINE G *make(M *m, void (*entry)(void *argument), void *argument, size_t room, unsigned order,
                             const char *name) {
  P *p = m != nullptr ? m->p.load(std::memory_order_relaxed) : nullptr;
  G *g = take_free(p, order);
  if (WARREN_UNLIKELY(g == nullptr)) return nullptr;
  char *top = reinterpret_cast<char *>(g) - room;
  g->entry = entry;
  g->argument = room == 0 ? argument : top;
  g->id = new_id(p);
  g->creator = m != nullptr && m->current != nullptr ? m->current->id : 0;
  g->generation = sched.generation.load(std::memory_order_relaxed);
  g->reason = WaitReason::kNone;
  g->blocking.store(0, std::memory_order_relaxed);
  g->name[0] = '\0';
  if (WARREN_UNLIKELY(name != nullptr)) {
    const size_t length = strnlen(name, sizeof g->name - 1);
    memcpy(g->name, name, length);
    g->name[length] = '\0';
  }
  stack_tools::fiber_made(g->tool_stack, g->low, g);
  g->sp = prepare_stack(top, kDefaultMxcsr, kDefaultX87Control);
  count_live(p, 1);
  set_status(g, GStatus::kRunnable);
  return g;
}

// Ends on the fiber itself what finish_end() would end on the other side. P's list is its M's alone, which makes no fiber
// before it has left this stack; only what overflows goes where others take from.
bool end_here(M *m, G *g) {
  P *p = m->p.load(std::memory_order_relaxed);
  if (stack_tools::kFollowEnds) return false;
  if (p == nullptr || g->stack_order != stacks::kDefaultOrder || p->free.count + 1 >= kFreeFibers) return false;
  if (g->generation != sched.generation.load(std::memory_order_relaxed)) return false;
  count_live(p, -1);
  set_status(g, GStatus::kDead);
  p->free.push_front(g);
  return true;
}

}  // namespace

G *make_fiber(M *m, void (*entry)(void *argument), void *argument, size_t room, unsigned order, const char *name) {
  return make(m, entry, argument, room, order, name);
}

void finish_end(M *m, G *g) {
  stack_tools::fiber_ended(g->tool_stack, g->sp);
  set_status(g, GStatus::kDead);
  P *p = m->p.load(std::memory_order_relaxed);
  if (g->generation == sched.generation.load(std::memory_order_relaxed)) count_live(p, -1);
  if (p == nullptr || g->stack_order != stacks::kDefaultOrder) {
    Batch<G> one;
    one.push(g);
    return stacks::free(one, g->stack_order);
  }
  p->free.push_front(g);
  if (p->free.count < kFreeFibers) return;
  Batch<G> half;
  while (half.count < kFreeFibers / 2) half.push(p->free.pop());
  stacks::free(half, stacks::kDefaultOrder);
}

M *regain_p(M *m) {
  if (acquire_idle_p(m)) return m;
  return switch_away<After::kPreempted>(m);
}

void warren_fiber_main(M *m) {
  stack_tools::arrive(m->current->tool_stack);
  finish_switch(m);
  *m->errno_location = 0;
  const G *g = m->current;
  leave_to_outside(m);
  g->entry(g->argument);
  wr_end_fiber();
}

}  // namespace warren::scheduler

using namespace warren::scheduler;

namespace {

// What a fiber is started with: an argument, or a closure that is moved onto its stack.
struct Beginning {
  void (*fn)(void *argument);
  void *argument;
  size_t room;  // 0: no closure
  void (*move)(void *to, void *from);
};

// Between make_fiber and its queue: nobody runs the fiber, but the collector sees its stack. Outside of the runtime, since the
// move is the user's.
void move_closure(const Beginning &with, G *g) { with.move(g->argument, with.argument); }

int start(const Beginning &with, const struct wr_fiber_options *options) {
  if (WARREN_UNLIKELY(!sched.active.load(std::memory_order_acquire))) return -EPERM;  // acquire: pairs with wr_run
  unsigned order = stacks::kDefaultOrder;
  const char *name = nullptr;
  if (WARREN_UNLIKELY(options != nullptr)) {
    name = options->name;
    if (options->stack_size != 0) order = stacks::order_for(options->stack_size);
    if (order == stacks::kOrders) return -EINVAL;
  }
  M *m = this_m();
  if (WARREN_UNLIKELY(m == nullptr)) {
    G *g = make_fiber(nullptr, with.fn, with.argument, with.room, order, name);
    if (g == nullptr) return -ENOMEM;
    if (with.room != 0) move_closure(with, g);
    make_runnable_globally(g);
    return 0;
  }
  enter_runtime(m);
  if (WARREN_UNLIKELY(m->p.load(std::memory_order_relaxed) == nullptr)) m = regain_p(m);
  G *g = make(m, with.fn, with.argument, with.room, order, name);
  if (WARREN_UNLIKELY(g == nullptr)) {
    leave_runtime(m);
    return -ENOMEM;
  }
  if (with.room != 0) {
    leave_runtime_quietly(m);
    move_closure(with, g);
    m = this_m();
    enter_runtime(m);
    if (WARREN_UNLIKELY(m->p.load(std::memory_order_relaxed) == nullptr)) m = regain_p(m);
  }
  P *p = m->p.load(std::memory_order_relaxed);
  run_queue_put(p, g, true);
  if (!p->alone) wake_p();
  leave_runtime(m);
  return 0;
}

}  // namespace

extern "C" {

int wr_go(void (*fn)(void *argument), void *argument, const struct wr_fiber_options *options) {
  return start({fn, argument, 0, nullptr}, options);
}

int wr_go_moved(void (*fn)(void *closure), void *closure, size_t size, void (*move)(void *to, void *from),
                const struct wr_fiber_options *options) {
  if (size == 0 || size > WR_CLOSURE_ROOM) return -EINVAL;
  return start({fn, closure, warren::align_up(size, 16), move}, options);
}

void wr_end_fiber(void) {
  M *m = this_m();
  CHECK(m != nullptr && m->current != nullptr);
  enter_runtime(m);
  G *g = m->current;
  if (WARREN_UNLIKELY(g->locked_m != nullptr)) {
    // Its thread may have been changed in ways that nobody knows of: it ends too.
    g->locked_m = nullptr;
    g->locked_depth = 0;
    m->locked_g = nullptr;
    m->ends = true;
  }
  if (WARREN_UNLIKELY(g->is_main)) main_fiber_ends(g);
  if (WARREN_UNLIKELY(m->ends)) {
    switch_to_loop(m, After::kEnd);  // no other fiber is to run on this thread
  } else if (WARREN_LIKELY(end_here(m, g))) {
    leave_for_good(m);
  } else {
    switch_away<After::kEnd>(m);
  }
  __builtin_unreachable();
}

size_t wr_fiber_count(void) {
  int64_t live = sched.live_elsewhere.load(std::memory_order_relaxed);
  const int count = sched.p_count.load(std::memory_order_relaxed);
  for (int i = 0; i < count; ++i)
    live += sched.ps[i].load(std::memory_order_relaxed)->live.load(std::memory_order_relaxed);
  return live > 0 ? static_cast<size_t>(live) : 0;
}

}  // extern "C"
