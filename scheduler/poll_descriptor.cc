// Poll descriptors: for each direction a word in which a waiter and an event meet, as in Go's netpoll.
//
//   word   0         nobody waits, nothing has happened
//          kReady    something has happened that nobody has waited for yet
//          kWaiting  a fiber is about to park
//          a G       that one is parked
//
// Memory of descriptors is never given back, so that a late event or deadline finds a descriptor, if another one: the
// tag tells events of an earlier use, and a deadline looks at the clock.
// Invariant: the exchange that replaces a G by something else is what entitles to make it ready.
#include "scheduler/poll_descriptor.h"

#include "allocator/base/address.h"
#include "allocator/base/check.h"
#include "allocator/base/mutex.h"
#include "scheduler/clock.h"
#include "scheduler/g_status.h"
#include "scheduler/idle.h"
#include "scheduler/netpoll.h"
#include "scheduler/state.h"
#include "scheduler/timer_heap.h"

#include <cerrno>
#include <cstdlib>
#include <new>
#include <poll.h>

namespace warren::scheduler {
namespace {

constexpr uintptr_t kNothing = 0;
constexpr uintptr_t kReady = 1;
constexpr uintptr_t kWaiting = 2;

struct Side {
  std::atomic<uintptr_t> word{kNothing};
  std::atomic<uint64_t> deadline{kNever};  // written under the lock
  Timer timer;                             // under the lock
};

constexpr uint32_t kTags = 1 << 16;
constexpr short kAllEvents = POLLIN | POLLOUT | POLLRDHUP | POLLPRI;

}  // namespace
}  // namespace warren::scheduler

using namespace warren::scheduler;

struct wr_poll {
  warren::Mutex lock{warren::LockRank::kPoll};
  int fd = -1;              // under the lock after opening
  // All events count as reading. relaxed: a late event of an earlier use may look at it, and wake somebody for nothing.
  std::atomic<bool> merged{false};
  short reading = POLLIN;   // the events that end a wait for reading; set when it is opened
  std::atomic<uint32_t> tag{0};          // of this use
  std::atomic<bool> cancelled{false};    // written under the lock
  std::atomic<uint32_t> poller{0};       // netpoll::generation that it is registered with; written under the lock
  std::atomic<bool> marked{false};       // see poll_marked()
  Side read, write;
  wr_poll *next = nullptr;  // in the free list, under its lock
};

namespace warren::scheduler {
namespace {

Mutex free_lock{LockRank::kPoll};
wr_poll *free_polls GUARDED_BY(free_lock) = nullptr;

Side &side(wr_poll *poll, unsigned direction) { return direction == WR_POLL_READ ? poll->read : poll->write; }

// seq_cst: who cancels stores first and looks at the word afterwards, who waits does it the other way round.
int error_of(const wr_poll *poll, const Side &s) {
  if (poll->cancelled.load(std::memory_order_seq_cst)) return -ECANCELED;
  const uint64_t deadline = s.deadline.load(std::memory_order_seq_cst);
  return deadline != kNever && deadline <= now() ? -ETIMEDOUT : 0;
}

// What has happened (or, with kNothing, an error) reaches who waits: the G to be made ready, or nullptr.
G *wake(Side &s, uintptr_t news) {
  uintptr_t old = s.word.load(std::memory_order_seq_cst);
  for (;;) {
    if (old == kReady) return nullptr;
    if (old == kNothing && news == kNothing) return nullptr;
    if (!s.word.compare_exchange_weak(old, news, std::memory_order_seq_cst)) continue;
    if (old == kNothing || old == kWaiting) return nullptr;
    G *g = at_address<G>(old);
    netpoll::waiters.remove(g);
    return g;
  }
}

bool commit(G *g, void *argument) {
  auto *s = static_cast<Side *>(argument);
  uintptr_t waiting = kWaiting;
  const bool thread = g->on_thread;  // it may be gone once it is in the word
  // Before it can be woken, which counts down.
  netpoll::waiters.add(g);
  if (s->word.compare_exchange_strong(waiting, address_of(g), std::memory_order_seq_cst)) {
    // A fiber's machine polls when it finds nothing else to do; a plain thread has to see to it that one does.
    if (thread && sched.last_poll.load(std::memory_order_seq_cst) != kPolledNow) wake_p();
    return true;
  }
  netpoll::waiters.remove(g);
  return false;
}

int wait(wr_poll *poll, Side &s) {
  for (;;) {
    if (const int error = error_of(poll, s)) return error;
    uintptr_t old = kReady;
    if (s.word.compare_exchange_strong(old, kNothing, std::memory_order_seq_cst)) return 0;
    if (old > kWaiting && is_abandoned(at_address<G>(old))) {  // its run has left it here, as in net.cc's take_over()
      s.word.compare_exchange_strong(old, kNothing, std::memory_order_seq_cst);
      continue;
    }
    CHECK(old == kNothing);  // one waiter a direction
    if (!s.word.compare_exchange_strong(old, kWaiting, std::memory_order_seq_cst)) continue;
    // Again, now that who cancels or lets a deadline pass can see that somebody is about to wait.
    if (error_of(poll, s) == 0) park(commit, &s, WaitReason::kIoWait);
    old = s.word.exchange(kNothing, std::memory_order_seq_cst);
    CHECK(old <= kWaiting);
    if (old == kReady) return 0;
  }
}

// Where the scheduler has never run nobody polls: the thread does it itself, and looks now and then whether it was
// cancelled.
int wait_on_thread(wr_poll *poll, Side &s, short events) {
  constexpr int kSlice = 50;
  for (;;) {
    if (const int error = error_of(poll, s)) return error;
    const uint64_t deadline = s.deadline.load(std::memory_order_relaxed);
    int wait = kSlice;
    if (deadline != kNever) {
      const uint64_t time = now();
      const uint64_t left = deadline > time ? (deadline - time + kMillisecond - 1) / kMillisecond : 0;
      if (left < kSlice) wait = static_cast<int>(left);
    }
    pollfd one{poll->fd, events, 0};
    if (::poll(&one, 1, wait) > 0) return 0;
  }
}

void deadline_passed(Timer *timer, uint64_t) {
  auto *poll = static_cast<wr_poll *>(timer->owner);
  G *woken[2] = {};
  {
    MutexLock hold(poll->lock);
    const uint64_t time = now();
    int i = 0;
    for (Side *s : {&poll->read, &poll->write}) {
      if (s->deadline.load(std::memory_order_relaxed) <= time) woken[i] = wake(*s, kNothing);
      ++i;
    }
  }
  for (G *g : woken) {
    if (g != nullptr) ready(g);
  }
}

G *set_deadline([[maybe_unused]] wr_poll *poll, Side &s, uint64_t deadline) REQUIRES(poll->lock) {
  remove(&s.timer);
  s.deadline.store(deadline, std::memory_order_seq_cst);
  if (deadline == kNever) return nullptr;
  if (deadline <= now()) return wake(s, kNothing);
  s.timer.when = deadline;
  add(&s.timer);
  return nullptr;
}

}  // namespace

void reset_polls_in_child() NO_THREAD_SAFETY_ANALYSIS {
  if (free_lock.take_from_the_gone()) free_polls = nullptr;
}

void poll_happened(wr_poll *poll, uint32_t tag, unsigned directions, Batch<G> &batch) {
  if (poll->tag.load(std::memory_order_seq_cst) != tag) return;
  // seq_cst, and before the word: who clears the word, or takes the event out of it, sees the mark afterwards.
  if ((directions & kPollMark) != 0) poll->marked.store(true, std::memory_order_seq_cst);
  if (poll->merged.load(std::memory_order_relaxed)) directions = WR_POLL_READ;
  for (const unsigned direction : {WR_POLL_READ, WR_POLL_WRITE}) {
    if ((directions & direction) == 0) continue;
    G *g = wake(side(poll, direction), kReady);
    if (g == nullptr) continue;
    if (g->on_thread || g->status.load(std::memory_order_acquire) != GStatus::kWaiting ||
        g->generation != sched.generation.load(std::memory_order_relaxed)) {
      ready(g);
      continue;
    }
    set_status(g, GStatus::kRunnable);
    batch.push(g);
  }
}

namespace {

int open_with(int fd, short events, bool merged, wr_poll **out) {
  if (!netpoll::set_up()) return -ENOSPC;
  wr_poll *poll = nullptr;
  {
    MutexLock hold(free_lock);
    poll = free_polls;
    if (poll != nullptr) free_polls = poll->next;
  }
  if (poll == nullptr) {
    void *memory = aligned_alloc(64, (sizeof(wr_poll) + 63) / 64 * 64);
    if (memory == nullptr) return -ENOMEM;
    poll = new (memory) wr_poll;
    for (Side *s : {&poll->read, &poll->write}) {
      // Once: one that fires reads them without the lock, while another deadline may be set.
      s->timer.fire = deadline_passed;
      s->timer.owner = poll;
    }
  }
  poll->fd = fd;
  poll->merged.store(merged, std::memory_order_relaxed);
  poll->reading = merged ? events : POLLIN;
  poll->poller.store(netpoll::generation, std::memory_order_relaxed);
  poll->cancelled.store(false, std::memory_order_seq_cst);
  poll->marked.store(false, std::memory_order_seq_cst);
  for (Side *s : {&poll->read, &poll->write}) {
    s->word.store(kNothing, std::memory_order_seq_cst);
    s->deadline.store(kNever, std::memory_order_seq_cst);
  }
  const uint32_t tag = (poll->tag.load(std::memory_order_relaxed) + 1) % kTags;
  poll->tag.store(tag, std::memory_order_seq_cst);
  const int error = netpoll::open(fd, events, poll, tag);
  if (error != 0) {
    poll->cancelled.store(true, std::memory_order_seq_cst);
    MutexLock hold(free_lock);
    poll->next = free_polls;
    free_polls = poll;
    return error;
  }
  *out = poll;
  return 0;
}

// In a forked child: it was registered with the parent's poll.
void register_anew(wr_poll *poll) {
  MutexLock hold(poll->lock);
  if (poll->fd < 0 || !netpoll::set_up()) return;
  const short events = poll->merged.load(std::memory_order_relaxed) ? poll->reading : kAllEvents;
  netpoll::open(poll->fd, events, poll, poll->tag.load(std::memory_order_relaxed));
  poll->poller.store(netpoll::generation, std::memory_order_relaxed);
}

}  // namespace

int open_poll_for(int fd, short events, wr_poll **out) { return open_with(fd, events, true, out); }

bool poll_marked(const wr_poll *poll) { return poll->marked.load(std::memory_order_seq_cst); }  // see poll_happened()

void detach_poll(wr_poll *poll) {
  wr_poll_cancel(poll);
  MutexLock hold(poll->lock);
  if (poll->fd >= 0) netpoll::close(poll->fd);
  poll->fd = -1;
}

}  // namespace warren::scheduler

extern "C" {

int wr_poll_open(int fd, struct wr_poll **out) { return open_with(fd, kAllEvents, false, out); }

int wr_poll_prepare(struct wr_poll *poll, enum wr_poll_direction direction) {
  for (const unsigned one : {WR_POLL_READ, WR_POLL_WRITE}) {
    if ((direction & one) == 0) continue;
    Side &s = side(poll, one);
    if (const int error = error_of(poll, s)) return error;
    s.word.exchange(kNothing, std::memory_order_seq_cst);  // also one that its run has left here
  }
  return 0;
}

int wr_poll_wait(struct wr_poll *poll, enum wr_poll_direction direction) {
  Side &s = side(poll, direction);
  if (sched.all_ms.load(std::memory_order_acquire) == nullptr) {
    return wait_on_thread(poll, s, direction == WR_POLL_READ ? poll->reading : POLLOUT);
  }
  if (poll->poller.load(std::memory_order_relaxed) != netpoll::generation) register_anew(poll);
  return wait(poll, s);
}

void wr_poll_set_deadline(struct wr_poll *poll, enum wr_poll_direction direction, uint64_t deadline) {
  G *woken[2] = {};
  {
    warren::MutexLock hold(poll->lock);
    if (poll->cancelled.load(std::memory_order_relaxed)) return;
    if ((direction & WR_POLL_READ) != 0) woken[0] = set_deadline(poll, poll->read, deadline);
    if ((direction & WR_POLL_WRITE) != 0) woken[1] = set_deadline(poll, poll->write, deadline);
  }
  for (G *g : woken) {
    if (g != nullptr) ready(g);
  }
}

void wr_poll_cancel(struct wr_poll *poll) {
  G *woken[2];
  {
    warren::MutexLock hold(poll->lock);
    poll->cancelled.store(true, std::memory_order_seq_cst);
    remove(&poll->read.timer);
    remove(&poll->write.timer);
    woken[0] = wake(poll->read, kNothing);
    woken[1] = wake(poll->write, kNothing);
  }
  for (G *g : woken) {
    if (g != nullptr) ready(g);
  }
}

void wr_poll_close(struct wr_poll *poll) {
  {
    warren::MutexLock hold(poll->lock);
    if (poll->fd >= 0) netpoll::close(poll->fd);
    poll->fd = -1;
  }
  poll->tag.store((poll->tag.load(std::memory_order_relaxed) + 1) % kTags, std::memory_order_seq_cst);
  warren::MutexLock hold(free_lock);
  poll->next = free_polls;
  free_polls = poll;
}

}  // extern "C"
