// Where everything above the scheduler waits: park the current G, make a parked one ready again.
// Callers: channels, select, sync, timers, netpoll, the C ABI. Implemented by the core of the scheduler.
// A plain thread (outside of run()) has a G of its own, made at its first call; it parks on a futex.
// So primitives know nothing but Gs, and work on fibers and on threads alike.
// Invariant: each park() is ended by exactly one ready(). With an `unlock` that comes once unlock has begun, never
// before; without one it may come before park() is called.
#pragma once

#include <cstdint>

namespace warren::scheduler {

struct G;

// Why a G waits, as stack dumps show it: Go's words where Go has the thing.
enum class WaitReason : uint8_t {
  kNone,
  kChanReceive,     // "chan receive"
  kChanSend,        // "chan send"
  kChanReceiveNil,  // "chan receive (nil chan)"
  kChanSendNil,     // "chan send (nil chan)"
  kSelect,          // "select"
  kSelectNoCases,   // "select (no cases)"
  kSleep,           // "sleep"
  kIoWait,          // "IO wait"
  kMutexLock,       // "sync.Mutex.Lock"
  kRwMutexRLock,    // "sync.RWMutex.RLock"
  kRwMutexLock,     // "sync.RWMutex.Lock"
  kWaitGroupWait,   // "sync.WaitGroup.Wait"
  kCondWait,        // "sync.Cond.Wait"
  kSemaphore,       // "semacquire"
  kOnce,            // "sync.Once.Do"
};

// Never nullptr. Not to be kept across a park by way of thread-local words: a fiber may go on on another thread.
G *current();

// Parks the current G. `unlock` (if given) runs when the G is off its stack, so that a ready() from there on finds it
// parked; it returns false to cancel: the G goes on at once. Returns when ready() was called.
// `awaited`: the object through which wakers come by the G, for the search for those that nobody can wake (awaited.h).
void park(bool (*unlock)(G *g, void *argument), void *argument, WaitReason reason, const void *awaited = nullptr);

// Makes a parked G runnable. From any fiber or thread; never blocks, never switches.
void ready(G *g);

// Whether what the caller waits for may come while it keeps its P: not if nobody else runs fibers, and one is ready to have the P.
// A moment's impression.
bool spinning_may_help();

// The run that the G is a fiber of, for who keeps a note of it; 0 for a plain thread's.
uint32_t run_of(const G *g);

// Whether that run has ended. Its fibers never go on, but lie in queues still: who is to give something to the first of a
// queue passes over them.
bool has_ended(uint32_t run);
inline bool is_abandoned(const G *g) { return has_ended(run_of(g)); }

// Each in a chain of those who wait, taken off their queues. It is gone once its G is ready.
template <class Waiting>
void ready_all(Waiting *first) {
  while (first != nullptr) {
    Waiting *next = first->next;
    ready(first->g);
    first = next;
  }
}

}  // namespace warren::scheduler
