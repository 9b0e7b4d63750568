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
  if (p == nullptr) return sched.last_id.fetch_add(1, std::memory_order_relaxed) + 1;
  if (p->next_id == p->last_id) {
    p->next_id = sched.last_id.fetch_add(kIdBatch, std::memory_order_relaxed) + 1;
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

// The P is the M's, or nullptr.
WARREN_ALWAYS_INLINE G *make(M *m, P *p, void (*entry)(void *argument), void *argument, size_t room, unsigned order,
                             const char *name) {
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
  return make(m, m != nullptr ? m->p.load(std::memory_order_relaxed) : nullptr, entry, argument, room, order, name);
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
void move_closure(const Beginning with, G *g) { with.move(g->argument, with.argument); }

WARREN_COLD int start_from_thread(const Beginning with, unsigned order, const char *name) {
  G *g = make_fiber(nullptr, with.fn, with.argument, with.room, order, name);
  if (g == nullptr) return -ENOMEM;
  if (with.room != 0) move_closure(with, g);
  make_runnable_globally(g);
  return 0;
}

WARREN_COLD int no_memory(M *m) {
  leave_runtime(m);
  return -ENOMEM;
}

// Into the queue, and out of the runtime.
WARREN_ALWAYS_INLINE int begin_to_run(M *m, P *p, G *g) {
  run_queue_put(p, g, true);
  if (!p->alone) wake_p();
  leave_runtime(m);
  return 0;
}

// Inlined where room, order and name are constants: then half of it falls away.
WARREN_ALWAYS_INLINE int start(const Beginning with, unsigned order, const char *name) {
  M *m = this_m();
  if (WARREN_UNLIKELY(m == nullptr)) return start_from_thread(with, order, name);
  enter_runtime(m);
  if (WARREN_UNLIKELY(m->p.load(std::memory_order_relaxed) == nullptr)) m = regain_p(m);
  P *p = m->p.load(std::memory_order_relaxed);
  if (p == nullptr) __builtin_unreachable();  // regain_p() came back with one
  G *g = make(m, p, with.fn, with.argument, with.room, order, name);
  if (WARREN_UNLIKELY(g == nullptr)) return no_memory(m);
  if (with.room == 0) return begin_to_run(m, p, g);
  leave_runtime_quietly(m);
  move_closure(with, g);
  m = this_m();
  enter_runtime(m);
  if (WARREN_UNLIKELY(m->p.load(std::memory_order_relaxed) == nullptr)) m = regain_p(m);
  return begin_to_run(m, m->p.load(std::memory_order_relaxed), g);
}

WARREN_NOINLINE int start_with_options(const Beginning with, const struct wr_fiber_options *options) {
  unsigned order = stacks::kDefaultOrder;
  if (options->stack_size != 0) order = stacks::order_for(options->stack_size);
  if (order == stacks::kOrders) return -EINVAL;
  return start(with, order, options->name);
}

}  // namespace

extern "C" {

int wr_go(void (*fn)(void *argument), void *argument, const struct wr_fiber_options *options) {
  if (WARREN_UNLIKELY(!sched.active.load(std::memory_order_acquire))) return -EPERM;  // acquire: pairs with wr_run
  if (WARREN_UNLIKELY(options != nullptr)) return start_with_options({fn, argument, 0, nullptr}, options);
  return start({fn, argument, 0, nullptr}, stacks::kDefaultOrder, nullptr);
}

int wr_go_moved(void (*fn)(void *closure), void *closure, size_t size, void (*move)(void *to, void *from),
                const struct wr_fiber_options *options) {
  if (size == 0 || size > WR_CLOSURE_ROOM) return -EINVAL;
  if (WARREN_UNLIKELY(!sched.active.load(std::memory_order_acquire))) return -EPERM;  // as in wr_go
  const size_t room = warren::align_up(size, 16);
  if (WARREN_UNLIKELY(options != nullptr)) return start_with_options({fn, closure, room, move}, options);
  return start({fn, closure, room, move}, stacks::kDefaultOrder, nullptr);
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
