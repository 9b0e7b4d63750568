// The C ABI of channels: wr_chan_*. See channel.h for the structure and the two operations.
// Invariant: a G that parks has its waiter in the queue before the channel is unlocked.
#include "scheduler/channel.h"

#include "scheduler/element_memory.h"

#include <new>

namespace warren::scheduler {
namespace {

// On the stack of a G that waits for one channel.
struct PlainWait {
  Waiter waiter;
  ShortLock *lock;
};

// Before the unlock nobody looks at the waiter, so that its G is soon enough known here.
bool unlock_when_parked(G *g, void *argument) NO_THREAD_SAFETY_ANALYSIS {
  auto *wait = static_cast<PlainWait *>(argument);
  wait->waiter.g = g;
  wait->lock->unlock();
  return true;
}

// Called with the lock held, gives it up.
WARREN_ALWAYS_INLINE int wait_in(wr_chan *c, WaiterQueue &queue, void *element, WaitReason reason) NO_THREAD_SAFETY_ANALYSIS {
  PlainWait wait;
  wait.waiter.element = element;
  wait.waiter.select = nullptr;
  wait.lock = &c->lock;
  queue.push_back(&wait.waiter);
  park(unlock_when_parked, &wait, reason, c);
  return WARREN_LIKELY(wait.waiter.success) ? WR_CHAN_DONE : WR_CHAN_CLOSED;
}

WARREN_NOINLINE int wait_to_send(wr_chan *c, void *value) { return wait_in(c, c->senders, value, WaitReason::kChanSend); }

WARREN_NOINLINE int wait_to_receive(wr_chan *c, void *out) {
  const int woken = wait_in(c, c->receivers, out, WaitReason::kChanReceive);
  if (woken == WR_CHAN_CLOSED) clear_element(c, out);
  return woken;
}

// What is left of a send or receive that is none of the plain ones. Called with the lock held, give it up. They are called last,
// so that who calls them saves no register for them; so are the next two.
WARREN_NOINLINE int send_rest(wr_chan *c, void *value) NO_THREAD_SAFETY_ANALYSIS {
  Waiter *wake = nullptr;
  const int status = send_locked(c, value, &wake);
  if (status == WR_CHAN_WOULD_BLOCK) return wait_to_send(c, value);
  c->lock.unlock();
  if (wake != nullptr) ready(wake->g);
  return status;
}

WARREN_NOINLINE int receive_rest(wr_chan *c, void *out) NO_THREAD_SAFETY_ANALYSIS {
  Waiter *wake = nullptr;
  const int status = receive_locked(c, out, &wake);
  if (status == WR_CHAN_WOULD_BLOCK) return wait_to_receive(c, out);
  c->lock.unlock();
  if (wake != nullptr) ready(wake->g);
  return status;
}

// Somebody waits on the other side, the ring is of no concern, and mostly the element is one to copy: it goes from stack to stack.
WARREN_NOINLINE int send_to_first(wr_chan *c, void *value) NO_THREAD_SAFETY_ANALYSIS {
  Waiter *receiver = c->receivers.first();
  if (WARREN_UNLIKELY(receiver->select != nullptr || receiver->element == nullptr)) return send_rest(c, value);
  if (WARREN_UNLIKELY(is_abandoned(receiver->g))) return send_rest(c, value);
  if (WARREN_UNLIKELY(!copy_element(c, receiver->element, value))) return send_rest(c, value);
  c->receivers.remove_first(receiver);
  receiver->success = true;
  G *g = receiver->g;
  c->lock.unlock();
  ready(g);
  return WR_CHAN_DONE;
}

WARREN_NOINLINE int receive_from_first(wr_chan *c, void *out) NO_THREAD_SAFETY_ANALYSIS {
  Waiter *sender = c->senders.first();
  if (WARREN_UNLIKELY(sender->select != nullptr || out == nullptr)) return receive_rest(c, out);
  if (WARREN_UNLIKELY(!copy_element(c, out, sender->element))) return receive_rest(c, out);
  c->senders.remove_first(sender);
  sender->success = true;
  G *g = sender->g;
  c->lock.unlock();
  ready(g);
  return WR_CHAN_DONE;
}

// Others hold the lock.
WARREN_COLD int send_contended(wr_chan *c, void *value) NO_THREAD_SAFETY_ANALYSIS {
  c->lock.lock();
  return send_rest(c, value);
}

WARREN_COLD int receive_contended(wr_chan *c, void *out) NO_THREAD_SAFETY_ANALYSIS {
  c->lock.lock();
  return receive_rest(c, out);
}

[[noreturn]] WARREN_COLD void wait_for_ever(WaitReason reason) {
  for (;;) park(nullptr, nullptr, reason);
}

void delete_channel(wr_chan *c) {
  if (c->destroy != nullptr) {
    // relaxed: nobody else is left to write it.
    for (size_t left = c->count.load(std::memory_order_relaxed); left != 0; --left) {
      c->destroy(c->ring() + c->receive_offset);
      c->receive_offset += c->element_size;
      if (c->receive_offset == c->ring_bytes) c->receive_offset = 0;
    }
  }
  c->~wr_chan();
  free_element_memory(c);
}

}  // namespace

void drop_reference(wr_chan *c) {
  // release: what was done through this handle comes before the deletion; acquire: pairs with the other handles'
  // release.
  if (c->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete_channel(c);
}

}  // namespace warren::scheduler

using namespace warren::scheduler;
using warren::scheduler::WaitReason;

extern "C" {

wr_chan *wr_chan_make_of(const wr_element *element, size_t capacity) {
  size_t bytes = 0;
  // A ring has room for a byte offset of its own: sizes that wrap are refused, larger ones fail in the allocator.
  if (__builtin_mul_overflow(element->size, capacity, &bytes)) return nullptr;
  if (bytes > SIZE_MAX / 2 || capacity > SIZE_MAX / 2) return nullptr;
  void *memory = element_memory(sizeof(wr_chan) + bytes);
  if (memory == nullptr) return nullptr;
  wr_chan *c = new (memory) wr_chan;
  c->capacity = c->room = capacity;
  c->element_size = element->size;
  c->ring_bytes = bytes;
  c->relocate = element->relocate;
  c->destroy = element->destroy;
  const size_t size = element->size;
  const bool copied = size == 1 || size == 2 || size == 4 || size == 8 || size == 16;
  c->copied_size = copied && element->relocate == nullptr ? size : 0;
  return c;
}

wr_chan *wr_chan_make(size_t element_size, size_t capacity) {
  const wr_element bytes{element_size, nullptr, nullptr};
  return wr_chan_make_of(&bytes, capacity);
}

// relaxed: who copies a handle has one, so that the count is at least one before and after.
void wr_chan_ref(wr_chan *c) {
  if (c != nullptr) c->references.fetch_add(1, std::memory_order_relaxed);
}

void wr_chan_unref(wr_chan *c) {
  if (c == nullptr) return;
  // relaxed: where there is a timer, it was there before the first handle.
  if (WARREN_UNLIKELY(c->timer.load(std::memory_order_relaxed) != nullptr)) return unref_timed_channel(c);
  drop_reference(c);
}

// Each thing is looked at once, and which of the four it is is decided by few of them: while somebody waits to receive, the channel
// is open and its ring is empty; while somebody waits to send, it is open and the ring full.
int wr_chan_send(wr_chan *c, void *value) NO_THREAD_SAFETY_ANALYSIS {
  if (c == nullptr) wait_for_ever(WaitReason::kChanSendNil);
  if (WARREN_UNLIKELY(!c->lock.try_lock())) return send_contended(c, value);
  if (!c->receivers.empty()) return send_to_first(c, value);
  const size_t count = c->count.load(std::memory_order_relaxed);  // written under this lock
  if (count < c->room) {
    if (WARREN_UNLIKELY(!copy_in(c, count, value))) return send_rest(c, value);
    c->lock.unlock();
    return WR_CHAN_DONE;
  }
  return WARREN_LIKELY(c->closed.load(std::memory_order_relaxed) == 0) ? wait_to_send(c, value) : send_rest(c, value);
}

int wr_chan_recv(wr_chan *c, void *out) NO_THREAD_SAFETY_ANALYSIS {
  if (c == nullptr) wait_for_ever(WaitReason::kChanReceiveNil);
  if (WARREN_UNLIKELY(!c->lock.try_lock())) return receive_contended(c, out);
  const size_t count = c->count.load(std::memory_order_relaxed);  // written under this lock
  if (count != 0) {
    if (!c->senders.empty() || WARREN_UNLIKELY(!copy_out(c, count, out))) return receive_rest(c, out);
    c->lock.unlock();
    return WR_CHAN_DONE;
  }
  if (!c->senders.empty()) return receive_from_first(c, out);
  return WARREN_LIKELY(c->closed.load(std::memory_order_relaxed) == 0) ? wait_to_receive(c, out) : receive_rest(c, out);
}

int wr_chan_try_send(wr_chan *c, void *value) {
  if (c == nullptr || !may_send(c)) return WR_CHAN_WOULD_BLOCK;
  Waiter *wake = nullptr;
  c->lock.lock();
  const int status = send_locked(c, value, &wake);
  c->lock.unlock();
  if (wake != nullptr) ready(wake->g);
  return status;
}

int wr_chan_try_recv(wr_chan *c, void *out) {
  if (c == nullptr || !may_receive(c)) return WR_CHAN_WOULD_BLOCK;
  Waiter *wake = nullptr;
  c->lock.lock();
  const int status = receive_locked(c, out, &wake);
  c->lock.unlock();
  if (wake != nullptr) ready(wake->g);
  return status;
}

int wr_chan_close(wr_chan *c) {
  if (c == nullptr) return WR_CHAN_NIL;
  Waiter *woken = nullptr;
  Waiter **end = &woken;
  {
    ShortLockGuard guard(c->lock);
    if (c->closed.load(std::memory_order_relaxed) != 0) return WR_CHAN_CLOSED;
    c->closed.store(1, std::memory_order_release);  // pairs with the acquire in may_send and may_receive
    c->room = 0;
    for (WaiterQueue *queue : {&c->receivers, &c->senders}) {
      while (Waiter *waiter = queue->take()) {
        waiter->success = false;
        waiter->next = nullptr;
        *end = waiter;
        end = &waiter->next;
      }
    }
  }
  ready_all(woken);
  return WR_CHAN_DONE;
}

// acquire: who has seen an element counted may count on what its sender did before.
size_t wr_chan_len(const wr_chan *c) { return c == nullptr ? 0 : c->count.load(std::memory_order_acquire); }

size_t wr_chan_cap(const wr_chan *c) { return c == nullptr ? 0 : c->capacity; }

}  // extern "C"
