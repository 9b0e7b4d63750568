// wr_context: the tree of contexts. See warren/context.h; Go's context package.
//
// Three kinds of node: one that can end (with_cancel, with_deadline, after_func), one that carries a value, and one
// that hides the ends above it. A node that can end is in the list of the nearest such node above it. References: each
// handle, each child, the entry of a deadline in the heap of timers. A parent's list of children holds none, so a
// child that nobody has any more leaves it. But the list holds a function to be run, and a node whose channel somebody
// still has: their ends are seen. Locks: a node's lock guards its error, channel and list of children; a child's place
// in the list is its parent's. At most one is held at a time. Ending a tree of any depth takes no recursion: nodes to
// be ended are queued through `next_to_end`. Invariant: the error is set before the channel is closed, a parent's
// before its children's.
#include "allocator/base/annotations.h"
#include "scheduler/channel.h"
#include "scheduler/short_lock.h"
#include "scheduler/start_task.h"
#include "scheduler/timer.h"

#include <warren/context.h>

#include <atomic>
#include <cstdlib>
#include <new>

using warren::scheduler::ShortLock;
using warren::scheduler::ShortLockGuard;
using warren::scheduler::Timer;

struct wr_context {
  std::atomic<uint32_t> references{1};
  std::atomic<uint32_t> error{WR_CONTEXT_NONE};  // written once, under lock
  ShortLock lock;
  wr_chan *done GUARDED_BY(lock) = nullptr;  // made when first asked for
  wr_context *first_child GUARDED_BY(lock) = nullptr;
  // Set once by make.
  wr_context *parent = nullptr;
  wr_context *above = nullptr;  // the nearest node upwards that can end; nullptr: none
  bool can_end = false;
  bool hides = false;  // without_cancel
  uint64_t deadline = UINT64_MAX;
  int (*find)(void *entry, void *query) = nullptr;
  void *entry = nullptr;
  void (*drop)(void *entry) = nullptr;
  void (*fn)(void *argument) = nullptr;  // after_func; its argument is `entry`
  // Guarded by above->lock.
  wr_context *next = nullptr;
  wr_context *prev = nullptr;
  bool listed = false;
  bool held_by_list = false;

  wr_context *next_to_end = nullptr;  // of whoever ends it
  Timer timer;
};

namespace warren::scheduler {
namespace {

constinit wr_context root;

// relaxed: who takes a reference has one.
wr_context *reference(wr_context *c) {
  if (c != &root) c->references.fetch_add(1, std::memory_order_relaxed);
  return c;
}

// For one who has none, but the lock under which the node would leave its list.
bool reference_if_alive(wr_context *c) {
  uint32_t count = c->references.load(std::memory_order_relaxed);  // the exchange decides
  while (count != 0) {
    if (c->references.compare_exchange_weak(count, count + 1, std::memory_order_relaxed)) return true;
  }
  return false;
}

void unlist_locked(wr_context *c) REQUIRES(c->above->lock) {
  if (!c->listed) return;
  c->listed = false;
  (c->prev != nullptr ? c->prev->next : c->above->first_child) = c->next;
  if (c->next != nullptr) c->next->prev = c->prev;
}

// Ends the chain of parents too where this was their last reference: a loop, for it may be long. Without a reference
// left nobody else reads `done`, hence no lock.
void unreference(wr_context *c) NO_THREAD_SAFETY_ANALYSIS {
  while (c != nullptr && c != &root) {
    // release and acquire: what was done through any handle comes before the end.
    if (c->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (c->above != nullptr) {
      ShortLockGuard guard(c->above->lock);
      // Its end can come from above only. Who has the channel waits for that.
      if (c->listed && !c->held_by_list && c->done != nullptr &&
          c->done->references.load(std::memory_order_relaxed) > 1) {
        c->held_by_list = true;
        c->references.store(1, std::memory_order_relaxed);  // nobody had one; under the lock nobody gets one
        return;
      }
      unlist_locked(c);
    }
    wr_chan_unref(c->done);
    if (c->drop != nullptr) c->drop(c->entry);
    wr_context *parent = c->parent;
    c->~wr_context();
    free(c);
    c = parent;
  }
}

void run_function(void *node) {
  auto *c = static_cast<wr_context *>(node);
  c->fn(c->entry);
  unreference(c);
}

// Ends one node, and queues its children with a reference each. Whether it was this call that ended it.
bool end_one(wr_context *c, uint32_t error, bool from_above, wr_context **queue) {
  wr_chan *done;
  {
    ShortLockGuard guard(c->lock);
    if (c->error.load(std::memory_order_relaxed) != WR_CONTEXT_NONE) return false;
    c->error.store(error, std::memory_order_release);  // pairs with the acquire in wr_context_err
    done = c->done;
    while (wr_context *child = c->first_child) {
      c->first_child = child->next;
      if (child->next != nullptr) child->next->prev = nullptr;
      child->listed = false;
      // What the list holds is the queue's from here on.
      if (child->held_by_list || reference_if_alive(child)) {
        child->held_by_list = false;
        child->next_to_end = *queue;
        *queue = child;
      }
    }
  }
  if (done != nullptr) wr_chan_close(done);
  const bool had_entry = c->timer.fire != nullptr && remove(&c->timer);
  if (had_entry) unreference(c);  // the caller has another
  if (!from_above && c->above != nullptr) {
    bool held;
    {
      ShortLockGuard guard(c->above->lock);
      held = c->listed && c->held_by_list;
      c->held_by_list = false;
      unlist_locked(c);
    }
    if (held) unreference(c);  // the caller has another
  }
  if (c->fn != nullptr && from_above) start_task(run_function, reference(c));
  return true;
}

bool end_tree(wr_context *c, uint32_t error, bool from_above) {
  wr_context *queue = nullptr;
  const bool ended = end_one(c, error, from_above, &queue);
  while (queue != nullptr) {
    wr_context *next = queue;
    queue = next->next_to_end;
    end_one(next, error, true, &queue);
    unreference(next);
  }
  return ended;
}

void fire(Timer *timer, uint64_t) {
  auto *c = static_cast<wr_context *>(timer->owner);
  end_tree(c, WR_CONTEXT_DEADLINE_EXCEEDED, false);
  unreference(c);
}

wr_context *make(wr_context *parent) {
  void *memory = calloc(1, sizeof(wr_context));
  if (memory == nullptr) return nullptr;
  wr_context *c = new (memory) wr_context;
  c->parent = reference(parent);
  c->above = parent->hides ? nullptr : parent->can_end ? parent : parent->above;
  c->deadline = parent->hides ? UINT64_MAX : parent->deadline;
  return c;
}

// Makes it part of what ends with its parent; at once, if that has ended.
wr_context *list(wr_context *c) {
  c->can_end = true;
  if (c->above == nullptr) return c;
  uint32_t error;
  {
    ShortLockGuard guard(c->above->lock);
    error = c->above->error.load(std::memory_order_relaxed);  // written under the lock
    if (error == WR_CONTEXT_NONE) {
      c->next = c->above->first_child;
      if (c->next != nullptr) c->next->prev = c;
      c->above->first_child = c;
      c->listed = true;
      if (c->fn != nullptr) c->held_by_list = reference(c) != nullptr;  // it runs whether or not anybody has the node
    }
  }
  if (error != WR_CONTEXT_NONE) end_tree(c, error, true);
  return c;
}

wr_context *nearest_end(wr_context *c) { return c->hides ? nullptr : c->can_end ? c : c->above; }

}  // namespace
}  // namespace warren::scheduler

using namespace warren::scheduler;

extern "C" {

wr_context *wr_context_background(void) { return &root; }

wr_context *wr_context_with_cancel(wr_context *parent) {
  wr_context *c = make(parent);
  return c == nullptr ? nullptr : list(c);
}

wr_context *wr_context_with_deadline(wr_context *parent, uint64_t deadline) {
  wr_context *c = make(parent);
  if (c == nullptr) return nullptr;
  if (deadline >= c->deadline) return list(c);  // the parent's comes first
  c->deadline = deadline;
  if (deadline > now()) {
    c->timer.when = deadline;
    c->timer.owner = c;
    c->timer.fire = fire;
  }
  list(c);
  if (c->timer.fire == nullptr) {
    end_tree(c, WR_CONTEXT_DEADLINE_EXCEEDED, false);
    return c;
  }
  reference(c);
  add(&c->timer);
  // Its parent may have ended meanwhile, and have found no timer to remove.
  if (c->error.load(std::memory_order_acquire) != WR_CONTEXT_NONE && remove(&c->timer)) unreference(c);
  return c;
}

wr_context *wr_context_without_cancel(wr_context *parent) {
  wr_context *c = make(parent);
  if (c != nullptr) {
    c->above = nullptr;
    c->hides = true;
    c->deadline = UINT64_MAX;
  }
  return c;
}

wr_context *wr_context_with_value(wr_context *parent, void *entry, int (*find)(void *entry, void *query),
                                  void (*drop)(void *entry)) {
  wr_context *c = make(parent);
  if (c == nullptr) return nullptr;
  c->entry = entry;
  c->find = find;
  c->drop = drop;
  return c;
}

wr_context *wr_context_after_func(wr_context *parent, void (*fn)(void *argument), void *argument,
                                  void (*drop)(void *argument)) {
  wr_context *c = make(parent);
  if (c == nullptr) return nullptr;
  c->entry = argument;
  c->drop = drop;
  c->fn = fn;
  return list(c);
}

void wr_context_ref(wr_context *c) { reference(c); }
void wr_context_unref(wr_context *c) { unreference(c); }

int wr_context_cancel(wr_context *c) { return c->can_end && end_tree(c, WR_CONTEXT_CANCELED, false) ? 1 : 0; }

wr_chan *wr_context_done(wr_context *c) {
  c = nearest_end(c);
  if (c == nullptr) return nullptr;
  ShortLockGuard guard(c->lock);
  if (c->done == nullptr) {
    c->done = wr_chan_make(1, 0);
    // relaxed: written under the lock.
    if (c->done != nullptr && c->error.load(std::memory_order_relaxed) != WR_CONTEXT_NONE) wr_chan_close(c->done);
  }
  return c->done;
}

enum wr_context_error wr_context_err(const wr_context *c) {
  const wr_context *end = nearest_end(const_cast<wr_context *>(c));
  // acquire: pairs with the release in end_one: what the canceller did before is seen.
  if (end == nullptr) return WR_CONTEXT_NONE;
  return static_cast<enum wr_context_error>(end->error.load(std::memory_order_acquire));
}

uint64_t wr_context_deadline(const wr_context *c) { return c->deadline; }

int wr_context_value(wr_context *c, void *query) {
  for (; c != nullptr; c = c->parent) {
    if (c->find != nullptr && c->find(c->entry, query) != 0) return 1;
  }
  return 0;
}

}  // extern "C"
