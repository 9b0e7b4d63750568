// wr_timer: timers and tickers that send over a channel, and functions that run later. See warren/timer.h; Go's time
// package.
//
// References: one for each handle, one for the entry in the heap of timer.h, which the firing that ends the entry
// drops, or whoever took the entry out. A function that runs holds one as well. A firing that has begun cannot be
// called back, but it does nothing before it has the lock: what it finds there decides. Not armed, or due later: it
// was stopped or reset meanwhile, and is not the firing that counts. Lock order: a timer's lock, then its channel's;
// the heap's locks come below both, and are not held around `fire`.
#include "scheduler/timer.h"

#include "allocator/base/annotations.h"
#include "scheduler/channel.h"
#include "scheduler/short_lock.h"
#include "scheduler/start_task.h"

#include <warren/timer.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>

using warren::scheduler::ShortLock;
using warren::scheduler::ShortLockGuard;
using warren::scheduler::Timer;
using warren::scheduler::Waiter;

struct wr_timer {
  Timer entry;
  std::atomic<uint32_t> references{1};
  std::atomic<uint32_t> handles{1};  // of the references: the user's
  ShortLock lock;
  bool armed GUARDED_BY(lock) = false;
  uint64_t deadline GUARDED_BY(lock) = 0;
  int64_t period GUARDED_BY(lock) = 0;  // 0: once
  // Set once by make.
  bool ticker = false;
  wr_chan *channel = nullptr;
  void (*fn)(void *argument) = nullptr;
  void *argument = nullptr;
  void (*drop)(void *argument) = nullptr;
};

namespace warren::scheduler {
namespace {

uint64_t after_now(int64_t duration) {
  const uint64_t time = now();
  if (duration <= 0) return time;
  return time + static_cast<uint64_t>(duration);  // both are below 2^63
}

// relaxed: who takes a reference has one.
void reference(wr_timer *t) { t->references.fetch_add(1, std::memory_order_relaxed); }

void unreference(wr_timer *t) {
  // release: what was done through this reference comes before the end; acquire: pairs with the others' release.
  if (t->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (t->channel != nullptr) {
    {
      ShortLockGuard guard(t->channel->lock);
      t->channel->timer.store(nullptr, std::memory_order_relaxed);  // under the lock
    }
    drop_reference(t->channel);
  }
  if (t->drop != nullptr) t->drop(t->argument);
  t->~wr_timer();
  free(t);
}

// The last handle is gone and nobody else has the channel: no firing could be noticed.
bool unnoticed(const wr_timer *t) {
  // acquire: whoever dropped the last one is done with the channel.
  return t->channel != nullptr && t->handles.load(std::memory_order_acquire) == 0 &&
         t->channel->references.load(std::memory_order_acquire) == 1;
}

void run_function(void *argument) {
  auto *t = static_cast<wr_timer *>(argument);
  t->fn(t->argument);
  unreference(t);
}

// Sends unless the one element of the channel is there still. The waiter it served, or nullptr.
Waiter *send_time(wr_chan *c, uint64_t time) {
  Waiter *wake = nullptr;
  uint64_t value[2] = {time, 0};  // as long as the longest copy that send_locked has a case for
  ShortLockGuard guard(c->lock);
  send_locked(c, value, &wake);
  return wake;
}

void fire(Timer *entry, uint64_t time) NO_THREAD_SAFETY_ANALYSIS {
  auto *t = static_cast<wr_timer *>(entry->owner);
  Waiter *wake = nullptr;
  bool runs = false, keeps_reference = false;
  t->lock.lock();
  if (t->armed && time >= t->deadline) {
    if (t->channel != nullptr) {
      wake = send_time(t->channel, time);
    } else {
      runs = true;
    }
    if (t->period != 0 && !unnoticed(t)) {
      // Ticks that were missed are left out.
      const auto period = static_cast<uint64_t>(t->period);
      t->deadline += period * (1 + (time - t->deadline) / period);
      // Else a reset has queued it meanwhile, with a reference of its own.
      keeps_reference = !reset(&t->entry, t->deadline, 0);
    } else {
      t->armed = false;
    }
  }
  t->lock.unlock();
  if (wake != nullptr) ready(wake->g);
  if (runs) {
    reference(t);
    start_task(run_function, t);
  }
  if (!keeps_reference) unreference(t);
}

// With the lock held. Whether it was pending: not fired, or fired with its time not yet received.
bool disarm(wr_timer *t) REQUIRES(t->lock) {
  const bool was_armed = t->armed;
  t->armed = false;
  const bool taken_back = t->channel != nullptr && wr_chan_try_recv(t->channel, nullptr) == WR_CHAN_DONE;
  return was_armed || taken_back;
}

void arm(wr_timer *t, int64_t duration) REQUIRES(t->lock) {
  t->armed = true;
  t->deadline = after_now(duration);
  reference(t);
  // relaxed: the entry had one already, and this is not the last.
  if (reset(&t->entry, t->deadline, 0)) t->references.fetch_sub(1, std::memory_order_relaxed);
}

wr_timer *make(int64_t duration, bool ticker, bool with_channel) {
  void *memory = calloc(1, sizeof(wr_timer));
  if (memory == nullptr) return nullptr;
  wr_timer *t = new (memory) wr_timer;
  t->entry.fire = fire;
  t->entry.owner = t;
  t->ticker = ticker;
  if (with_channel) {
    t->channel = wr_chan_make(sizeof(uint64_t), 1);
    if (t->channel == nullptr) {
      unreference(t);
      return nullptr;
    }
    t->channel->timer.store(t, std::memory_order_relaxed);  // nobody else knows the channel
  }
  if (ticker) {
    ShortLockGuard guard(t->lock);
    t->period = duration;
  }
  return t;
}

void start(wr_timer *t, int64_t duration) {
  ShortLockGuard guard(t->lock);
  arm(t, duration);
}

}  // namespace

// The timer may be at its end: then it has no references, or the channel does not know it any more.
void unref_timed_channel(wr_chan *c) {
  wr_timer *t;
  {
    ShortLockGuard guard(c->lock);
    t = c->timer.load(std::memory_order_relaxed);  // under the lock
    if (t != nullptr) {
      uint32_t count = t->references.load(std::memory_order_relaxed);  // the exchange decides
      while (count != 0 && !t->references.compare_exchange_weak(count, count + 1, std::memory_order_relaxed)) {
      }
      if (count == 0) t = nullptr;
    }
  }
  drop_reference(c);
  if (t == nullptr) return;
  if (unnoticed(t)) wr_timer_stop(t);
  unreference(t);
}

}  // namespace warren::scheduler

using namespace warren::scheduler;

extern "C" {

wr_timer *wr_timer_make(int64_t duration) {
  wr_timer *t = make(duration, false, true);
  if (t != nullptr) start(t, duration);
  return t;
}

wr_timer *wr_ticker_make(int64_t period) {
  wr_timer *t = period > 0 ? make(period, true, true) : nullptr;
  if (t != nullptr) start(t, period);
  return t;
}

wr_timer *wr_timer_make_func(int64_t duration, void (*fn)(void *argument), void *argument,
                              void (*drop)(void *argument)) {
  wr_timer *t = make(duration, false, false);
  if (t == nullptr) return nullptr;
  t->fn = fn;
  t->argument = argument;
  t->drop = drop;
  start(t, duration);
  return t;
}

void wr_timer_ref(wr_timer *t) {
  t->handles.fetch_add(1, std::memory_order_relaxed);  // who copies a handle has one
  reference(t);
}

void wr_timer_unref(wr_timer *t) {
  // release: pairs with the acquire in unnoticed(); acquire: so that this one sees what the other handles did.
  if (t->handles.fetch_sub(1, std::memory_order_acq_rel) == 1 && unnoticed(t)) wr_timer_stop(t);
  unreference(t);
}

wr_chan *wr_timer_chan(wr_timer *t) { return t->channel; }

int wr_timer_stop(wr_timer *t) {
  bool pending, had_entry;
  {
    ShortLockGuard guard(t->lock);
    had_entry = remove(&t->entry);
    pending = disarm(t);
  }
  if (had_entry) unreference(t);  // the caller's handle keeps it alive
  return pending ? 1 : 0;
}

int wr_timer_reset(wr_timer *t, int64_t duration) {
  if (t->ticker && duration <= 0) return -EINVAL;
  ShortLockGuard guard(t->lock);
  const bool pending = disarm(t);
  if (t->ticker) t->period = duration;
  arm(t, duration);
  return pending ? 1 : 0;
}

wr_chan *wr_after(int64_t duration) {
  wr_timer *t = wr_timer_make(duration);
  if (t == nullptr) return nullptr;
  wr_chan_ref(t->channel);
  wr_chan *c = t->channel;
  wr_timer_unref(t);
  return c;
}

}  // extern "C"
