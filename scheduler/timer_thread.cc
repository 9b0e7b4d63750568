// See timer_thread.h.
#include "scheduler/timer_thread.h"

#include "allocator/base/os_calls.h"
#include "allocator/base/own_threads.h"
#include "scheduler/fork.h"
#include "scheduler/note.h"
#include "scheduler/kernel_threads.h"

#include <cstdlib>
#include <new>
#include <pthread.h>
#include <warren/scheduler_core.h>

namespace warren::scheduler::timer_thread {
namespace {

TimerHeap first_heap;
TimerHeap *timers = &first_heap;
std::atomic<uint32_t> note{0};
OwnThread own;  // rests while there is no timer: those there are may be the program's last wish
pthread_once_t started = PTHREAD_ONCE_INIT;

void run() {
  own.begin();
  for (;;) {
    own.work();
    note_clear(note);
    // seq_cst: of this look and wake(), one comes second.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const uint64_t time = now();
    const uint64_t next = timers->run(time);
    if (next == kNever) {
      own.rest();
      note_sleep(note);
    } else {
      note_sleep_for(note, next > time ? next - time : 0);
    }
  }
}

// As patient as Go where there is no thread to be had. Without one what waits for a timer would wait for ever.
constexpr uint64_t kTries = 20, kLongerPause = 1'000'000;

void start() {
  fork_handlers::install();
  for (uint64_t i = 1; i <= kTries; ++i) {
    if (threads::start_plain(run, "warren-timers")) return;
    os_calls::sleep(i * kLongerPause);
  }
  wr_fatal_error("no thread to be had for timers where no run is under way");
}

}  // namespace

TimerHeap &heap() { return *timers; }

void wake() {
  pthread_once(&started, start);
  own.call();
  note_wake(note);
}

bool pending() { return timers->next() != kNever; }

void reset_in_child() {
  // As the kernel's own timers these are the parent's. They stay as they are, since some lie on stacks of threads that are
  // gone, and others may still be removed.
  timers->take_lock_from_the_gone();
  if (void *memory = aligned_alloc(alignof(TimerHeap), sizeof(TimerHeap))) timers = new (memory) TimerHeap;
  note.store(0, std::memory_order_relaxed);
  started = PTHREAD_ONCE_INIT;
}

}  // namespace warren::scheduler::timer_thread
