// wr_select: one of several channel operations, whichever can go ahead, chosen fairly. Source: Go's select.go.
//
// 1. In random order, each case that looks ready is tried under its own channel's lock. One that goes ahead is the choice:
//    at that moment it was ready, and no other had a claim to be preferred. With one case or two this is done without a
//    call where the choice concerns nobody else.
// 2. None did: all channels are locked, each once, in address order, and all cases are looked at again, since
//    `default` and parking are right only if at one moment none is ready.
// 3. A waiter in each channel's queue, and park. The unlocking is done by park() when this G can be woken.
// 4. Woken by the one channel that claimed the SelectWait: the other waiters leave their queues, in O(1) each.
// Invariant: while a waiter is queued its select has not returned.
#include "scheduler/channel.h"

#include "allocator/base/address.h"
#include "allocator/base/tls.h"

#include <new>

namespace warren::scheduler {
namespace {

// What lies in wr_select_case::room.
struct Room {
  Waiter waiter;
  uint32_t poll_index;  // the n-th case to look at is cases[cases[n].poll_index]
  uint32_t lock_index;  // likewise, by address of the channel
};
static_assert(sizeof(Room) <= sizeof(wr_select_case::room));
static_assert(alignof(Room) <= alignof(void *));

Room &room(wr_select_case &c) { return *reinterpret_cast<Room *>(c.room); }

WARREN_TLS uint64_t random_state = 0;

// xorshift: fairness asks for no more. Read and written once: no thread is left in between. It begins with where the caller's
// stack is, which is somewhere else in each thread and process; the clock would be a call.
WARREN_ALWAYS_INLINE uint32_t random_word(const void *on_stack) {
  uint64_t x = random_state;
  if (WARREN_UNLIKELY(x == 0)) x = (address_of(on_stack) ^ 0x9e3779b97f4a7c15u) | 1;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  random_state = x;
  return static_cast<uint32_t>(x >> 32);
}

// A number below `limit`, by multiplication: the bias is one in 2^32.
uint32_t random_below(uint32_t limit) { return static_cast<uint32_t>(uint64_t{random_word(&limit)} * limit >> 32); }

void shuffle(wr_select_case *cases, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t j = random_below(i + 1);
    room(cases[i]).poll_index = room(cases[j]).poll_index;
    room(cases[j]).poll_index = i;
  }
}

WARREN_ALWAYS_INLINE bool may_proceed(const wr_select_case &c) {
  if (c.chan == nullptr) return false;
  return c.send != 0 ? may_send(c.chan) : may_receive(c.chan);
}

WARREN_ALWAYS_INLINE int proceed_locked(wr_select_case &c, Waiter **wake) NO_THREAD_SAFETY_ANALYSIS {
  return c.send != 0 ? send_locked(c.chan, c.element, wake) : receive_locked(c.chan, c.element, wake);
}

// Step 1 for one case.
WARREN_ALWAYS_INLINE bool try_case(wr_select_case &c) NO_THREAD_SAFETY_ANALYSIS {
  if (!may_proceed(c)) return false;
  Waiter *wake = nullptr;
  c.chan->lock.lock();
  const int status = proceed_locked(c, &wake);
  c.chan->lock.unlock();
  if (wake != nullptr) ready(wake->g);
  c.status = status;
  return status != WR_CHAN_WOULD_BLOCK;
}

// Heap sort: no recursion, no allocation, and no bad case among the orders a caller may choose.
void sort_by_address(wr_select_case *cases, uint32_t count) {
  const auto at = [cases](uint32_t i) -> uint32_t & { return room(cases[i]).lock_index; };
  const auto less = [&](uint32_t i, uint32_t j) {
    return reinterpret_cast<uintptr_t>(cases[at(i)].chan) < reinterpret_cast<uintptr_t>(cases[at(j)].chan);
  };
  const auto swap = [&](uint32_t i, uint32_t j) {
    const uint32_t kept = at(i);
    at(i) = at(j);
    at(j) = kept;
  };
  const auto sift = [&](uint32_t i, uint32_t end) {
    for (uint32_t child = 2 * i + 1; child < end; child = 2 * i + 1) {
      if (child + 1 < end && less(child, child + 1)) ++child;
      if (!less(i, child)) return;
      swap(i, child);
      i = child;
    }
  };
  for (uint32_t i = 0; i < count; ++i) at(i) = i;
  for (uint32_t i = count / 2; i-- > 0;) sift(i, count);
  for (uint32_t end = count; end-- > 1;) {
    swap(0, end);
    sift(0, end);
  }
}

wr_chan *locked_as(wr_select_case *cases, uint32_t n) { return cases[room(cases[n]).lock_index].chan; }

void lock_all(wr_select_case *cases, uint32_t count) NO_THREAD_SAFETY_ANALYSIS {
  const wr_chan *last = nullptr;
  for (uint32_t n = 0; n < count; ++n) {
    wr_chan *c = locked_as(cases, n);
    if (c != last) c->lock.lock();  // nil channels come first, as nullptr
    last = c;
  }
}

// The last unlock is the last look at the cases: the G they belong to may have been woken through any channel, but it
// cannot return before it has had the lock of every other one.
void unlock_all(wr_select_case *cases, size_t count) NO_THREAD_SAFETY_ANALYSIS {
  wr_chan *held = nullptr;
  for (uint32_t n = 0; n < count; ++n) {
    wr_chan *c = locked_as(cases, n);
    if (c != held && held != nullptr) held->lock.unlock();
    held = c;
  }
  if (held != nullptr) held->lock.unlock();
}

bool unlock_when_parked(G *, void *select) {
  auto *wait = static_cast<SelectWait *>(select);
  unlock_all(wait->cases, wait->count);
  return true;
}

// Steps 2 to 4.
WARREN_NOINLINE int select_slow(wr_select_case *cases, uint32_t count, bool block) NO_THREAD_SAFETY_ANALYSIS {
  sort_by_address(cases, count);
  lock_all(cases, count);
  for (uint32_t n = 0; n < count; ++n) {
    const uint32_t i = room(cases[n]).poll_index;
    if (cases[i].chan == nullptr) continue;
    Waiter *wake = nullptr;
    cases[i].status = proceed_locked(cases[i], &wake);
    if (cases[i].status == WR_CHAN_WOULD_BLOCK) continue;
    unlock_all(cases, count);
    if (wake != nullptr) ready(wake->g);
    return static_cast<int>(i);
  }
  if (!block) {
    unlock_all(cases, count);
    return WR_SELECT_DEFAULT;
  }

  SelectWait wait;
  wait.cases = cases;
  wait.count = count;
  G *g = current();
  for (uint32_t n = 0; n < count; ++n) {
    wr_select_case &c = cases[room(cases[n]).poll_index];  // of cases on one channel the first in its queue is chosen
    if (c.chan == nullptr) continue;
    Waiter *waiter = new (&room(c).waiter) Waiter{nullptr, nullptr, g, c.element, &wait, false, false};
    (c.send != 0 ? c.chan->senders : c.chan->receivers).push_back(waiter);
  }
  park(unlock_when_parked, &wait, WaitReason::kSelect, &wait);

  int chosen = WR_SELECT_DEFAULT;
  for (uint32_t i = 0; i < count; ++i) {
    wr_select_case &c = cases[i];
    if (c.chan == nullptr) continue;
    Waiter &waiter = room(c).waiter;
    if (&waiter == wait.winner) {
      chosen = static_cast<int>(i);
      c.status = waiter.success ? WR_CHAN_DONE : WR_CHAN_CLOSED;
      if (!waiter.success && c.send == 0) clear_element(c.chan, c.element);
      continue;
    }
    c.chan->lock.lock();
    if (waiter.queued) (c.send != 0 ? c.chan->senders : c.chan->receivers).remove(&waiter);
    c.chan->lock.unlock();
  }
  return chosen;
}

// The plainest choice: nobody else is concerned by it. False: look further.
WARREN_ALWAYS_INLINE bool try_at_once(wr_select_case &c) NO_THREAD_SAFETY_ANALYSIS {
  wr_chan *chan = c.chan;
  if (chan->copied_size == 0 || chan->capacity == 0 || WARREN_UNLIKELY(!chan->lock.try_lock())) return false;
  const size_t count = chan->count.load(std::memory_order_relaxed);  // written under this lock
  bool done = false;
  if (c.send != 0) {
    if (count < chan->room && chan->receivers.empty()) done = copy_in(chan, count, c.element);
  } else {
    if (count != 0 && chan->senders.empty()) done = copy_out(chan, count, c.element);
  }
  chan->lock.unlock();
  if (done) c.status = WR_CHAN_DONE;
  return done;
}

WARREN_NOINLINE int select_one(wr_select_case *cases, bool block) {
  if (try_case(cases[0])) return 0;
  if (!block) return WR_SELECT_DEFAULT;  // one look at one channel is one moment
  room(cases[0]).poll_index = 0;
  return select_slow(cases, 1, true);
}

WARREN_NOINLINE int select_two(wr_select_case *cases, bool block) {
  const uint32_t first = random_word(cases) & 1;
  if (try_case(cases[first])) return static_cast<int>(first);
  if (try_case(cases[first ^ 1])) return static_cast<int>(first ^ 1);
  room(cases[0]).poll_index = first;
  room(cases[1]).poll_index = first ^ 1;
  return select_slow(cases, 2, block);
}

WARREN_NOINLINE int select_many(wr_select_case *cases, uint32_t count, bool block) {
  if (count == 0) {
    if (!block) return WR_SELECT_DEFAULT;
    for (;;) park(nullptr, nullptr, WaitReason::kSelectNoCases);
  }
  shuffle(cases, count);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t at = room(cases[i]).poll_index;
    if (try_case(cases[at])) return static_cast<int>(at);
  }
  return select_slow(cases, count, block);
}

}  // namespace
}  // namespace warren::scheduler

using namespace warren::scheduler;

// One or two cases of which one can go ahead at once are the most frequent by far: they are dealt with here, without a call. Where
// both look ready one is drawn; not otherwise, since a branch by chance is mispredicted every second time.
extern "C" int wr_select(wr_select_case *cases, size_t count, int block) {
  if (count == 2) {
    const bool zero = may_proceed(cases[0]), one = may_proceed(cases[1]);
    if (zero || one) {
      const uint32_t at = zero && one ? random_word(cases) & 1 : one;
      if (try_at_once(cases[at])) return static_cast<int>(at);
    }
    return select_two(cases, block != 0);
  }
  if (count != 1) return select_many(cases, static_cast<uint32_t>(count), block != 0);
  if (!may_proceed(cases[0])) {
    if (block == 0) return WR_SELECT_DEFAULT;  // as in select_one()
  } else if (try_at_once(cases[0])) {
    return 0;
  }
  return select_one(cases, block != 0);
}
