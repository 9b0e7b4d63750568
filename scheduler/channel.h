// Channels: a ring of elements, a queue of Gs that wait to send and one of Gs that wait to receive.
// Callers: channel.cc and select.cc (the C ABI), timer_channel.cc, cancel_tree.cc. Source: Go's chan.go.
//
// Waiters lie on the stacks of the Gs that park: nothing is allocated to wait. Values go straight from one G's stack
// to the other's where one waits, else through the ring.
// Invariant, under the lock: receivers wait only while the ring is empty, senders only while it is full, and not both,
// but for a select that waits for both on one channel. A waiter of a select that another channel has ended may lie in
// a queue still; whoever takes it from there finds it claimed and drops it.
#pragma once

#include "allocator/base/annotations.h"
#include "scheduler/park.h"
#include "scheduler/short_lock.h"

#include <warren/channel.h>
#include <warren/timer.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace warren::scheduler {

struct Waiter;

// Of a channel with a timer: one reference goes, and if it was the last but the timer's own, the timer stops.
// timer_channel.cc.
void unref_timed_channel(wr_chan *c);
// The rest of every wr_chan_unref. channel.cc.
void drop_reference(wr_chan *c);

// What the waiters of one select share: the first channel to claim it ends it.
struct SelectWait {
  std::atomic<uint32_t> claimed{0};
  Waiter *winner = nullptr;  // written by who claimed, before ready()
  wr_select_case *cases = nullptr;
  size_t count = 0;
};

// One G in one queue.
struct Waiter {
  Waiter *next;
  Waiter *prev;
  G *g;
  void *element;       // the value to send, the place to receive into (nullptr: drop it)
  SelectWait *select;  // nullptr: a plain send or receive
  bool queued;
  bool success;        // false: woken by close
};

// Guarded by the channel's lock, but for empty().
class WaiterQueue {
 public:
  // relaxed: without the lock this is a hint, whose reader takes the lock before it acts on `false`.
  bool empty() const { return first_.load(std::memory_order_relaxed) == nullptr; }

  void push_back(Waiter *waiter) {
    waiter->next = nullptr;
    waiter->prev = last_;
    waiter->queued = true;
    if (last_ != nullptr) {
      last_->next = waiter;
    } else {
      first_.store(waiter, std::memory_order_relaxed);  // under the lock; others take it for a hint only
    }
    last_ = waiter;
  }

  void remove(Waiter *waiter) {
    if (waiter->prev != nullptr) {
      waiter->prev->next = waiter->next;
    } else {
      first_.store(waiter->next, std::memory_order_relaxed);  // as in push_back
    }
    if (waiter->next != nullptr) {
      waiter->next->prev = waiter->prev;
    } else {
      last_ = waiter->prev;
    }
    waiter->queued = false;
  }

  Waiter *first() const { return first_.load(std::memory_order_relaxed); }

  void remove_first(Waiter *waiter) {
    first_.store(waiter->next, std::memory_order_relaxed);  // as in push_back
    if (waiter->next != nullptr) {
      waiter->next->prev = nullptr;
    } else {
      last_ = nullptr;
    }
    waiter->queued = false;
  }

  // For who reads it from outside, safely: where the pointer to the first one lies.
  uintptr_t head() const { return reinterpret_cast<uintptr_t>(&first_); }

  // The first waiter that is still to be had; it is the caller's to make ready.
  Waiter *take() {
    for (;;) {
      Waiter *waiter = first();
      if (waiter == nullptr) return nullptr;
      remove_first(waiter);
      if (waiter->select == nullptr) return waiter;
      uint32_t unclaimed = 0;
      // relaxed: decides who wins and publishes nothing; ready() publishes.
      if (waiter->select->claimed.compare_exchange_strong(unclaimed, 1, std::memory_order_relaxed)) {
        waiter->select->winner = waiter;
        return waiter;
      }
    }
  }

 private:
  std::atomic<Waiter *> first_{nullptr};
  Waiter *last_ = nullptr;
};

}  // namespace warren::scheduler

// The public header knows it by name only.
struct alignas(16) wr_chan {
  warren::scheduler::ShortLock lock;
  // Atomic for readers without the lock (len, try_…, the first look of select), written under it.
  std::atomic<uint32_t> closed{0};
  std::atomic<size_t> count{0};
  size_t capacity = 0;
  size_t room = 0;  // the capacity, 0 once it is closed. Guarded by lock
  // Guarded by lock: byte offsets into the ring.
  size_t send_offset = 0;
  size_t receive_offset = 0;
  // Set once by make.
  size_t copied_size = 0;  // element_size where elements are bytes, as many as one load and one store move; else 0
  size_t ring_bytes = 0;
  size_t element_size = 0;
  void (*relocate)(void *to, void *from) = nullptr;
  void (*destroy)(void *value) = nullptr;
  // Guarded by lock.
  warren::scheduler::WaiterQueue receivers;
  warren::scheduler::WaiterQueue senders;
  std::atomic<size_t> references{1};
  // The timer that sends over it. Guarded by lock; nullptr from the start, or set by the timer's make and cleared by
  // its end.
  std::atomic<wr_timer *> timer{nullptr};

  std::byte *ring() { return reinterpret_cast<std::byte *>(this + 1); }
};
static_assert(sizeof(wr_chan) % 16 == 0, "the ring behind it is aligned for any element");

namespace warren::scheduler {

// The sizes that are copied without a call, the commonest first. False: it is none of them.
WARREN_ALWAYS_INLINE bool copy_small(size_t size, void *to, const void *from) {
  if (WARREN_LIKELY(size == 8)) {
    memcpy(to, from, 8);
    return true;
  }
  asm("" : "+r"(size));  // else all these comparisons become one jump through a table, which costs more than the copy
  if (size == 4) {
    memcpy(to, from, 4);
  } else if (size == 16) {
    memcpy(to, from, 16);
  } else if (size == 1) {
    memcpy(to, from, 1);
  } else if (size == 2) {
    memcpy(to, from, 2);
  } else {
    return false;
  }
  return true;
}

// Moves a value to where none is yet; `from` then holds none. `to` may be nullptr: the value is destroyed.
WARREN_ALWAYS_INLINE void move_element(const wr_chan *c, void *to, void *from) {
  if (WARREN_UNLIKELY(c->relocate != nullptr)) {
    if (to != nullptr) {
      c->relocate(to, from);
    } else if (c->destroy != nullptr) {
      c->destroy(from);
    }
    return;
  }
  if (WARREN_UNLIKELY(to == nullptr)) {
    if (c->destroy != nullptr) c->destroy(from);
    return;
  }
  if (!copy_small(c->element_size, to, from)) memcpy(to, from, c->element_size);
}

// The same for elements that have a copied_size: no call, so that who does nothing else saves no register. False: they have none.
WARREN_ALWAYS_INLINE bool copy_element(const wr_chan *c, void *to, const void *from) {
  return copy_small(c->copied_size, to, from);
}

// What a receive gives that found the channel closed and drained: zero, where values are bytes.
inline void clear_element(const wr_chan *c, void *to) {
  if (to != nullptr && c->relocate == nullptr) memset(to, 0, c->element_size);
}

inline size_t next_offset(const wr_chan *c, size_t offset) {
  const size_t next = offset + c->element_size;
  return next == c->ring_bytes ? 0 : next;
}

// The two halves of a ring's work, under the lock, where nobody waits on the other side and `count` says that there is room, or an
// element. False: nothing happened, for its elements are not just copied.
WARREN_ALWAYS_INLINE bool copy_in(wr_chan *c, size_t count, const void *value) REQUIRES(c->lock) {
  if (WARREN_UNLIKELY(!copy_element(c, c->ring() + c->send_offset, value))) return false;
  c->send_offset = next_offset(c, c->send_offset);
  c->count.store(count + 1, std::memory_order_relaxed);  // readers without the lock take it for a hint
  return true;
}

WARREN_ALWAYS_INLINE bool copy_out(wr_chan *c, size_t count, void *out) REQUIRES(c->lock) {
  if (WARREN_UNLIKELY(out == nullptr || !copy_element(c, out, c->ring() + c->receive_offset))) return false;
  c->receive_offset = next_offset(c, c->receive_offset);
  c->count.store(count - 1, std::memory_order_relaxed);  // as in copy_in
  return true;
}

// The two operations, under the lock, as far as they go without waiting. *wake is the waiter they served: to be made
// ready after the unlock. WR_CHAN_WOULD_BLOCK: nothing happened.
WARREN_ALWAYS_INLINE int send_locked(wr_chan *c, void *value, Waiter **wake) REQUIRES(c->lock) {
  if (WARREN_UNLIKELY(c->closed.load(std::memory_order_relaxed) != 0)) return WR_CHAN_CLOSED;
  if (!c->receivers.empty()) {
    while (Waiter *receiver = c->receivers.take()) {
      if (WARREN_UNLIKELY(is_abandoned(receiver->g))) continue;  // what an abandoned one sends is sent, but it receives nothing
      move_element(c, receiver->element, value);
      receiver->success = true;
      *wake = receiver;
      return WR_CHAN_DONE;
    }
  }
  const size_t count = c->count.load(std::memory_order_relaxed);  // written under this lock
  if (count == c->capacity) return WR_CHAN_WOULD_BLOCK;
  move_element(c, c->ring() + c->send_offset, value);
  c->send_offset = next_offset(c, c->send_offset);
  c->count.store(count + 1, std::memory_order_relaxed);  // as in copy_in
  return WR_CHAN_DONE;
}

WARREN_ALWAYS_INLINE int receive_locked(wr_chan *c, void *out, Waiter **wake) REQUIRES(c->lock) {
  const size_t count = c->count.load(std::memory_order_relaxed);  // written under this lock
  if (count != 0) {
    move_element(c, out, c->ring() + c->receive_offset);
    c->receive_offset = next_offset(c, c->receive_offset);
    Waiter *sender = c->senders.empty() ? nullptr : c->senders.take();
    if (sender != nullptr) {  // the ring was full: the slot just emptied is the next to be sent to
      move_element(c, c->ring() + c->send_offset, sender->element);
      c->send_offset = next_offset(c, c->send_offset);
      sender->success = true;
      *wake = sender;
    } else {
      c->count.store(count - 1, std::memory_order_relaxed);  // as in copy_in
    }
    return WR_CHAN_DONE;
  }
  if (WARREN_UNLIKELY(c->closed.load(std::memory_order_relaxed) != 0)) {
    clear_element(c, out);
    return WR_CHAN_CLOSED;
  }
  if (!c->senders.empty()) {
    if (Waiter *sender = c->senders.take()) {
      move_element(c, out, sender->element);
      sender->success = true;
      *wake = sender;
      return WR_CHAN_DONE;
    }
  }
  return WR_CHAN_WOULD_BLOCK;
}

// Without the lock: false only if the operation would block at this moment. All loads are acquire: of
// two operations of other Gs, the second is not seen without the first (closed after the last send).
WARREN_ALWAYS_INLINE bool may_send(const wr_chan *c) {
  return c->closed.load(std::memory_order_acquire) != 0 ||
         (c->capacity == 0 ? !c->receivers.empty() : c->count.load(std::memory_order_acquire) != c->capacity);
}

WARREN_ALWAYS_INLINE bool may_receive(const wr_chan *c) {
  return (c->capacity == 0 ? !c->senders.empty() : c->count.load(std::memory_order_acquire) != 0) ||
         c->closed.load(std::memory_order_acquire) != 0;
}

}  // namespace warren::scheduler
