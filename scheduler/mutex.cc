// wr_mutex: Go's two modes, in one word and a queue.
// Normal: an unlock wakes the first of the queue, which competes with whoever comes by; those run already and mostly
// win, which saves a switch. Starvation: a woken G that lost after a wait of 1 ms makes the unlocks hand the lock
// over, in order, and nobody overtakes until the queue is empty or its head has waited for less.
//
//   state  bit 0 kLocked    somebody has the mutex
//          bit 1 kQueue     somebody has the queue: only while kLocked, by its owner or by one about to wait
//          bit 2 kWaiting   the queue is not empty
//          bit 3 kWoken     one taken from the queue is on its way: no need to wake another
//          bit 4 kStarving  hand over. Only while kLocked
//          bit 5 kContended somebody has waited: only exchanges unlock it. All of the above but kLocked come with it
//          the rest         without kContended, if not 0: of the thread that is about to set it, while kLocked;
//                           with it: counts the unlocks since one woke somebody
//
//   woken_in            of kWoken, its owner's: the run that the one on its way is a fiber of. If that has ended, it never arrives.
//
// Invariant: while kQueue is set nobody else writes the word, for those who come by write only what is not locked, and
// an unlock needs kQueue for all but the two plainest states. So the one store that gives up kQueue (and, in unlock,
// kLocked) is the last touch, and the next owner may free the mutex.
//
// An unlock before anybody has waited is two plain instructions, which look for kLocked alone and store 0: a restartable sequence
// (rseq.h), since a locked instruction takes three times as long. What is written to the word between the two is lost, and a waiter
// with it. So nobody waits before kContended is set, and while it is set no sequence is between its two:
// - Only an owner unlocks. Where nobody has the mutex there is none, so an exchange that finds it free, or makes it free, may
//   set kContended and clear it.
// - Who finds it locked by plain means puts the number of its thread beside kLocked, by an exchange, and asks for a fence. A
//   sequence that had looked before has stored then, and the number is gone, or it has been ended and the owner goes by an exchange.
//   None begins while the number is there. So if it is there after the fence, nobody has stored: nobody else writes it, and
//   this thread wrote it once. Then kContended takes its place, by an exchange again.
// The fence costs who waits first 0.6 us. A mutex that is left alone for long enough is as new: kContended goes with the
// unlock that finds the count full, and nothing else in the word.
#include "scheduler/mutex.h"

#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"
#include "scheduler/rseq.h"
#include "scheduler/timer.h"
#include "scheduler/wait_list.h"

#include <warren/scheduler_core.h>

#include <atomic>

namespace warren::scheduler {
namespace {

enum : uint32_t { kLocked = 1, kQueue = 2, kWaiting = 4, kWoken = 8, kStarving = 16, kContended = 32 };
constexpr int kThreadShift = 8;  // a thread's number has 22 bits
constexpr uint32_t kQuietOne = 1u << (32 - restartable::kFenceWorthBits);

// A critical section is some tens of nanoseconds, a park and a wake about a hundred. More: burns CPU that the owner
// may need.
constexpr int kSpins = 30;

// Go's. More: a longer wait behind those that come by. Less: more hand-overs, each a switch.
constexpr uint64_t kStarvingAfterNs = 1000000;

// Who has the queue is done with it within some ten instructions, unless off its CPU. More: burns the CPU that it may be
// waiting for. Less: sleeps where a wait of nanoseconds would have done.
constexpr int kQueueSpins = 1000;

// For who has the queue and is off its CPU. More: a late lock or unlock. Less: a system call for nothing.
constexpr uint64_t kQueueSleepNs = 10000;

std::atomic_ref<uint32_t> state_of(wr_mutex *m) { return std::atomic_ref<uint32_t>(m->state); }

// `order` on success; a failure only tells what to try next.
bool exchange(std::atomic_ref<uint32_t> state, uint32_t &seen, uint32_t next, std::memory_order order) {
  return state.compare_exchange_weak(seen, next, order, std::memory_order_relaxed);
}

// Between two looks at kQueue. A sleep and not a yield: whoever has the queue runs on a thread of its own, so that thread
// is what to wait for, and under SCHED_FIFO one that yields never lets an owner of lower priority run. Besides,
// wr_cond_wait unlocks when it is in the condition's queue already, and who is made ready must not be in a run queue.
void wait_for_queue(int &spins) {
  __builtin_ia32_pause();
  if (++spins > kQueueSpins) os_calls::sleep(kQueueSleepNs), spins = 0;
}

// What is left when the owner of `seen` goes by an exchange, and wakes nobody.
uint32_t unlocked(uint32_t seen) {
  if ((seen & kContended) != 0) {
    const uint32_t next = (seen & ~kLocked) + kQuietOne;
    return next == kContended ? 0 : next;
  }
  return seen == kLocked ? 0u : uint32_t{kContended};  // somebody is about to set it: spared
}

// For who has found the mutex locked, and nobody waiting. False: the kernel refuses the fence.
WARREN_NOINLINE bool set_contended(std::atomic_ref<uint32_t> state) {
  uint32_t seen = kLocked;
  uint32_t mine = kLocked | os_calls::thread_id() << kThreadShift;
  // acquire: as the fence wants it.
  if (!state.compare_exchange_strong(seen, mine, std::memory_order_acquire, std::memory_order_relaxed)) return true;
  const bool fenced = restartable::fence();
  // relaxed: only the word itself is told. Failure: it has been unlocked.
  state.compare_exchange_strong(mine, fenced ? kLocked | kContended : uint32_t{kLocked}, std::memory_order_relaxed);
  return fenced;
}

// What lies behind park() is told through this, on the waiter's stack.
struct QueueUnlock {
  wr_mutex *mutex;
  uint32_t state;
};

bool unlock_queue(G *, void *argument) {
  const auto *to = static_cast<QueueUnlock *>(argument);
  // release: the queue's links; pairs with the acquire of the next to take kQueue.
  state_of(to->mutex).store(to->state, std::memory_order_release);
  return true;
}

}  // namespace

WARREN_NOINLINE void lock_mutex(wr_mutex *m, WaitReason reason) {
  std::atomic_ref<uint32_t> state = state_of(m);
  Place place;
  bool woken = false;  // kWoken is ours to clear
  int spins = 0;
  int spins_for_queue = 0;
  for (;;) {
    uint32_t seen = state.load(std::memory_order_relaxed);  // only chooses what the exchanges below are to try
    if ((seen & kLocked) == 0) {
      const uint32_t taken = (seen | kLocked) & ~(woken ? uint32_t{kWoken} : 0u);
      // acquire: pairs with the release of the last owner.
      if (state.compare_exchange_weak(seen, taken, std::memory_order_acquire, std::memory_order_relaxed)) return;
      continue;
    }
    if (spins < kSpins && (seen & (kStarving | kWaiting)) == 0 && spinning_may_help()) {
      ++spins;
      __builtin_ia32_pause();
      continue;
    }
    if ((seen & kContended) == 0) {
      if (seen != kLocked && ++spins_for_queue < kQueueSpins) {  // somebody is at it already
        __builtin_ia32_pause();
        continue;
      }
      // A sleep that gives the P to others: the owner may need it.
      if (seen != kLocked || !set_contended(state)) wr_sleep_ns(kQueueSleepNs);
      continue;
    }
    if ((seen & kQueue) != 0) {
      wait_for_queue(spins_for_queue);
      continue;
    }
    // acquire: pairs with the release in unlock_queue.
    if (!exchange(state, seen, seen | kQueue, std::memory_order_acquire)) continue;

    WaitList list(m->first, m->last);
    const uint64_t time = now();
    if (place.since == 0) {
      place.since = time;
      place.g = current();
      list.push_back(&place);
    } else {
      list.push_front(&place);  // it was first before
    }
    QueueUnlock unlock{m, seen | kWaiting};
    if (woken) unlock.state &= ~uint32_t{kWoken};
    if (woken && time - place.since > kStarvingAfterNs) unlock.state |= kStarving;
    park(unlock_queue, &unlock, reason, m);
    if (place.granted) return;
    woken = true;
    spins = 0;
  }
}

namespace {

// An unlock only has to say that the mutex is free: nobody waits, or one is on its way already.
bool wakes_nobody(const wr_mutex *m, uint32_t seen) {
  return (seen & kWaiting) == 0 || ((seen & (kWoken | kStarving)) == kWoken && !has_ended(m->woken_in));
}

WARREN_NOINLINE void unlock_slow(wr_mutex *m) {
  std::atomic_ref<uint32_t> state = state_of(m);
  for (int spins = 0;;) {
    uint32_t seen = state.load(std::memory_order_relaxed);  // only chooses what the exchanges are to try
    if ((seen & kLocked) == 0) wr_fatal_error("sync: unlock of unlocked mutex");
    if ((seen & kQueue) != 0) {
      wait_for_queue(spins);
      continue;
    }
    if (wakes_nobody(m, seen)) {
      // release: pairs with the acquire of the next owner.
      if (exchange(state, seen, unlocked(seen), std::memory_order_release)) return;
      continue;
    }
    // acquire: the queue's links, from unlock_queue.
    if (!exchange(state, seen, seen | kQueue, std::memory_order_acquire)) continue;

    WaitList list(m->first, m->last);
    Place *place = list.pop_front();
    if (WARREN_UNLIKELY(place == nullptr)) {  // all that waited have been left behind by their run
      state.store(0, std::memory_order_release);  // as below
      return;
    }
    const uint32_t waiting = list.empty() ? 0u : uint32_t{kWaiting};
    const bool hand_over = (seen & kStarving) != 0;
    uint32_t next;
    if (hand_over) {
      const bool enough = waiting == 0 || now() - place->since < kStarvingAfterNs;
      next = kLocked | kContended | waiting | (seen & kWoken) | (enough ? 0u : uint32_t{kStarving});
      place->granted = true;
    } else {
      next = waiting | kWoken | kContended;
      m->woken_in = run_of(place->g);
    }
    G *g = place->g;
    state.store(next, std::memory_order_release);  // pairs with the acquire of the next owner
    ready(g);
    return;
  }
}

// Where nobody waits it saves no register.
WARREN_NOINLINE void unlock_by_exchange(wr_mutex *m) {
  uint32_t seen = state_of(m).load(std::memory_order_relaxed);  // only chooses what the exchange is to try
  // release: pairs with the acquire of the next owner.
  if ((seen & (kLocked | kQueue | kWaiting)) == kLocked &&
      exchange(state_of(m), seen, unlocked(seen), std::memory_order_release))
    return;
  unlock_slow(m);
}

}  // namespace
}  // namespace warren::scheduler

using namespace warren::scheduler;

extern "C" {

// In both: a look first, since the word is rarely 0 or kLocked while anybody waits, and a failed exchange costs as much
// as one that succeeds.
void wr_mutex_lock(wr_mutex *m) {
  uint32_t seen = state_of(m).load(std::memory_order_relaxed);  // only chooses what the exchange is to try
  // acquire: pairs with the release of the last owner.
  if ((seen & kLocked) == 0 && exchange(state_of(m), seen, seen | kLocked, std::memory_order_acquire)) return;
  lock_mutex(m, WaitReason::kMutexLock);
}

int wr_mutex_try_lock(wr_mutex *m) {
  uint32_t seen = state_of(m).load(std::memory_order_relaxed);  // only chooses what the exchange is to try
  while ((seen & kLocked) == 0) {
    // acquire: as in wr_mutex_lock.
    if (exchange(state_of(m), seen, seen | kLocked, std::memory_order_acquire)) return 1;
  }
  return 0;
}

void wr_mutex_unlock(wr_mutex *m) {
  // Its release pairs with the acquire of the next owner.
  if (!restartable::compare_and_store(m->state, kLocked, 0)) unlock_by_exchange(m);
}

}  // extern "C"
