// M: a kernel thread that runs fibers, and how it is told to give its P up.
// Callers: everything in scheduler/. Invariant: fields are the M's own, but for those marked shared.
//
// A P is taken from an M that computes or blocks in code that is not ours without a signal and without a
// read-modify-write on its way: whoever takes (take_p.cc) stores kAsked into `taken`, has the kernel put a fence into
// all threads (membarrier), and looks at `in_runtime`. Zero: the M is in foreign code, and will see the request before
// it touches its P again, so the P can go: kAsked becomes kTaken. Else the M sees the request on its way out. The M,
// coming in and finding kAsked, takes it back by an exchange; the exchange decides who has the P.
#pragma once

#include "allocator/base/check.h"
#include "allocator/base/own_threads.h"
#include "allocator/base/tls.h"
#include "scheduler/context.h"
#include "scheduler/g.h"

#include <atomic>
#include <cstdint>
#include <pthread.h>

namespace warren::scheduler {

struct P;

enum Taken : uint32_t { kNotTaken, kAsked, kTaken, kFenced = 4 };

// What `taken` is while nobody wants the P: kNotTaken. Where membarrier does not work it has the bit kFenced, always,
// so that each way in and out goes the slow way and pays for a fence there. Set before the first M.
inline uint32_t not_taken = kNotTaken;

// What is to become of the G that was switched away from, once its stack is not in use any more.
enum class After : uint8_t { kNothing, kYield, kPreempted, kPark, kEnd };

struct alignas(128) M {
  G *current = nullptr;               // nullptr: on its own stack, in the schedule loop
  std::atomic<P *> p{nullptr};        // shared with take_p.cc; relaxed: its protocol orders it
  std::atomic<uint32_t> in_runtime{0};  // shared: nesting of runtime calls; see above
  std::atomic<uint32_t> taken{not_taken};  // shared: see above
  G *previous = nullptr;              // switched away from, not yet dealt with
  After after = After::kNothing;
  bool spinning = false;              // looks for work, counted in Scheduler::spinning
  bool slice_over = false;            // the request was seen: its fiber yields
  std::atomic<G *> blocker{nullptr};  // shared with sysmon: its fiber that was the last to announce a blocking call
  G *locked_g = nullptr;              // the only one it may run
  G *picked = nullptr;                // taken from a queue, to be run by the schedule loop
  int *errno_location = nullptr;      // this thread's
  ExceptionState *exceptions = nullptr;  // this thread's
  void *loop_sp = nullptr;            // the schedule loop's saved stack
  P *next_p = nullptr;                // given to it by who wakes it; under the note
  std::atomic<uint32_t> note{0};      // shared: one-shot futex, 1 when woken
  M *next_idle = nullptr;             // in the list of idle or of ended ones, under Scheduler::lock
  M *next_all = nullptr;              // set once
  bool enlisted = false;              // in the list of all; under Scheduler::lock
  uint32_t id = 0;
  uint32_t random = 1;
  uint32_t thread_id = 0;             // the kernel's
  uintptr_t thread_pointer = 0;       // of the thread; set before thread_id
  OwnThread own;                      // rests where the thread sleeps without a P: no fiber of a run is left behind there
  bool ends = false;                  // its thread is to end
  void *signal_stack = nullptr;
  [[no_unique_address]] ToolStack tool_stack;  // its own, of the schedule loop
  ExceptionState no_exceptions;       // stands in where the program has no C++ runtime
};

// Whether its fiber is in a blocking call. That fiber may have parked in it, and be anywhere by now: then others run here.
// Any thread; a moment's impression.
inline bool is_blocking(const M *m) {
  const G *g = m->blocker.load(std::memory_order_acquire);  // pairs with wr_enter_blocking(): the G was made before
  return g != nullptr && g->blocking.load(std::memory_order_relaxed) != 0 && g->m.load(std::memory_order_relaxed) == m &&
         g->status.load(std::memory_order_relaxed) == GStatus::kRunning;
}

// The words of each thread: one object, so that the library has one more word of TLS in its GOT, not two.
struct ThreadWords {
  M *m;          // at the start: this_m() reads it there
  G *thread_g;   // thread_g.cc's
};

extern "C" {
extern WARREN_TLS ThreadWords warren_thread_words;
}

// The M of this thread, nullptr on a plain one. One load that the compiler can neither repeat nor keep: after a switch
// the same code may run on another thread. Read once on entry; afterwards the switch hands it on.
inline M *this_m() {
  M *m;
  asm volatile(
      "movq warren_thread_words@GOTTPOFF(%%rip), %0\n\t"
      "movq %%fs:(%0), %0"
      : "=r"(m));
  return m;
}

// The M finds a request, or has to pay. Afterwards m->p is its own for as long as it is in the runtime, or nullptr.
void answer_request(M *m);

// Around everything that touches the P. They nest. relaxed: the fences and the protocol above order them.
// …_unasked: false where a request is to be answered, and that is left to the caller: at the end of a path of its own it costs
// the plain one no register.
inline bool enter_runtime_unasked(M *m) {
  m->in_runtime.store(m->in_runtime.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return __builtin_expect(m->taken.load(std::memory_order_relaxed) == kNotTaken, 1);
}

inline void enter_runtime(M *m) {
  if (!enter_runtime_unasked(m)) answer_request(m);
}

// The same where the caller is known to come from outside: whatever waits or yields.
inline bool enter_from_outside_unasked(M *m) {
  DCHECK(m->in_runtime.load(std::memory_order_relaxed) == 0);
  m->in_runtime.store(1, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return __builtin_expect(m->taken.load(std::memory_order_relaxed) == kNotTaken, 1);
}

inline void enter_from_outside(M *m) {
  if (!enter_from_outside_unasked(m)) answer_request(m);
}

// Without answering: for calls that must not switch. The request stays for the next way in or for who asked.
inline void leave_runtime_quietly(M *m) {
  // release: who takes the P finds what was done to it.
  m->in_runtime.store(m->in_runtime.load(std::memory_order_relaxed) - 1, std::memory_order_release);
}

// Yields when the time slice is over. Only where a switch is right; the M may be another one afterwards.
void leave_runtime_slow(M *m);

inline void leave_runtime(M *m) {
  leave_runtime_quietly(m);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (__builtin_expect(m->taken.load(std::memory_order_relaxed) != kNotTaken || m->slice_over, 0))
    leave_runtime_slow(m);
}

inline void leave_to_outside(M *m) {
  // The M of before a switch and the one of after it are one variable here: without this the compiler keeps the addresses of both
  // fields over the switch, in registers that are to be saved for them.
  asm("" : "+r"(m));
  DCHECK(m->in_runtime.load(std::memory_order_relaxed) == 1);
  m->in_runtime.store(0, std::memory_order_release);  // as in leave_runtime_quietly()
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (__builtin_expect(m->taken.load(std::memory_order_relaxed) != kNotTaken || m->slice_over, 0))
    leave_runtime_slow(m);
}

}  // namespace warren::scheduler
