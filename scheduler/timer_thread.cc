// See timer_thread.h.
#include "scheduler/timer_thread.h"

#include "allocator/base/check.h"
#include "scheduler/fork.h"
#include "scheduler/note.h"
#include "scheduler/kernel_threads.h"

#include <cstdlib>
#include <new>
#include <pthread.h>

namespace warren::scheduler::timer_thread {
namespace {

TimerHeap first_heap;
TimerHeap *timers = &first_heap;
std::atomic<uint32_t> note{0};
pthread_once_t started = PTHREAD_ONCE_INIT;

void run() {
  for (;;) {
    note_clear(note);
    // seq_cst: of this look and wake(), one comes second.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const uint64_t time = now();
    const uint64_t next = timers->run(time);
    if (next == kNever) {
      note_sleep(note);
    } else {
      note_sleep_for(note, next > time ? next - time : 0);
    }
  }
}

void start() {
  fork_handlers::install();
  CHECK(threads::start_plain(run, "warren-timers"));
}

}  // namespace

TimerHeap &heap() { return *timers; }

void wake() {
  pthread_once(&started, start);
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
