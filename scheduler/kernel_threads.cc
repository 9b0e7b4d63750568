// See kernel_threads.h.
#include "scheduler/kernel_threads.h"

#include "allocator/base/os_calls.h"
#include "allocator/base/own_threads.h"
#include "gc/stop_signal.h"
#include "scheduler/deadlock.h"
#include "scheduler/exceptions.h"
#include "scheduler/find_runnable.h"
#include "scheduler/idle.h"
#include "scheduler/note.h"
#include "scheduler/stacks.h"
#include "scheduler/switch.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <new>
#include <pthread.h>
#include <sys/mman.h>

namespace warren::scheduler {

extern "C" {
__attribute__((used)) WARREN_TLS ThreadWords warren_thread_words = {};
}

namespace threads {
namespace {

// The schedule loop, timers' callbacks and libc's thread-local block. Fibers have stacks of their own.
constexpr size_t kStackBytes = size_t{256} << 10;

// A handler that unwinds and symbolises a stack, on top of a frame with all vector registers.
constexpr size_t kSignalStackBytes = size_t{64} << 10;

sigset_t machine_mask;

// For the calling thread, unless it has one.
void *give_signal_stack() {
  stack_t stack;
  if (sigaltstack(nullptr, &stack) != 0 || (stack.ss_flags & SS_DISABLE) == 0) return nullptr;
  void *memory = mmap(nullptr, kSignalStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  stack = {};
  stack.ss_sp = memory;
  stack.ss_size = kSignalStackBytes;
  sigaltstack(&stack, nullptr);
  return memory;
}

void take_signal_stack(void *memory) {
  if (memory == nullptr) return;
  stack_t off{};
  off.ss_flags = SS_DISABLE;
  sigaltstack(&off, nullptr);
  munmap(memory, kSignalStackBytes);
}

void retire(M *m) {
  P *p = m->p.load(std::memory_order_relaxed) != nullptr ? release_p(m) : nullptr;
  if (p != nullptr) handoff_p(p);
  bool deadlock;
  {
    MutexLock hold(sched.lock);
    --sched.m_count;
    deadlock = nobody_runs();
  }
  if (deadlock) report_deadlock();  // all others may sleep already: nobody else would look
  take_signal_stack(m->signal_stack);
  m->own.end();
  warren_thread_words.m = nullptr;
  MutexLock hold(sched.lock);
  m->thread_id = 0;
  m->next_idle = sched.ended_ms;  // it stays in the list of all
  sched.ended_ms = m;
}

// One of a thread that has ended, or a new one. Memory of Ms is never given back: takers may still look at it.
M *take_m() {
  {
    MutexLock hold(sched.lock);
    if (M *m = sched.ended_ms) {
      sched.ended_ms = m->next_idle;
      m->next_idle = nullptr;
      m->ends = false;
      // Nobody is in its runtime: whoever asked it for a P it had is not to hear of it later.
      m->taken.store(not_taken, std::memory_order_relaxed);
      m->slice_over = false;
      m->blocker.store(nullptr, std::memory_order_relaxed);
      note_clear(m->note);
      return m;
    }
  }
  void *memory = aligned_alloc(alignof(M), sizeof(M));
  return memory != nullptr ? new (memory) M : nullptr;
}

void give_back(M *m) {
  MutexLock hold(sched.lock);
  m->next_idle = sched.ended_ms;
  sched.ended_ms = m;
}

// By the thread itself, before it runs anything: who looks for foreign threads must not take it for one.
void enlist(M *m) {
  m->thread_pointer = reinterpret_cast<uintptr_t>(__builtin_thread_pointer());
  m->thread_id = os_calls::thread_id();
  MutexLock hold(sched.lock);
  if (m->enlisted) return;
  m->enlisted = true;
  m->next_all = sched.all_ms.load(std::memory_order_relaxed);
  m->id = m->next_all == nullptr ? 0 : m->next_all->id + 1;
  sched.all_ms.store(m, std::memory_order_release);
}

void *run_machine(void *argument) {
  auto *m = static_cast<M *>(argument);
  // Else it would have the name of the one that started it, sysmon perhaps, and so would the threads that its fibers start.
  os_calls::name_thread(program_invocation_short_name);
  enlist(m);
  m->own.begin();
  m->errno_location = &errno;
  m->exceptions = thread_exceptions();
  if (m->exceptions == nullptr) m->exceptions = &m->no_exceptions;
  m->signal_stack = give_signal_stack();
  m->in_runtime.store(1, std::memory_order_relaxed);
  warren_thread_words.m = m;
  stack_tools::thread_starts(m->tool_stack);
  acquire_p(m, m->next_p);
  m->next_p = nullptr;
  for (;;) {
    const Found found = next_fiber(m);
    if (found.g == nullptr) break;
    execute(m, found.g, found.inherits_slice);
  }
  retire(m);
  return nullptr;
}

void *run_plain(void *argument) {
  reinterpret_cast<void (*)()>(argument)();
  return nullptr;
}

bool start(void *(*body)(void *), void *argument, const sigset_t *mask, const char *name) {
  OwnThreads::announce();
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (mask == nullptr) {
    sigset_t all;
    sigfillset(&all);
    // The collector stops threads by one of these.
    for (int signal = gc::stop_signal::kLowest; signal <= gc::stop_signal::kHighest; ++signal) sigdelset(&all, signal);
    pthread_attr_setsigmask_np(&attributes, &all);
  } else {
    pthread_attr_setsigmask_np(&attributes, mask);
  }
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, body, argument);
  pthread_attr_destroy(&attributes);
  if (error == 0 && name != nullptr) pthread_setname_np(thread, name);
  return error == 0;
}

}  // namespace

void keep_signal_mask() { pthread_sigmask(SIG_SETMASK, nullptr, &machine_mask); }

bool start_machine(P *p, bool spinning) {
  M *m = take_m();
  if (m == nullptr) return false;
  m->spinning = spinning;
  m->next_p = p;
  m->random = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(m) >> 7) | 1;
  if (!start(run_machine, m, &machine_mask, nullptr)) {
    give_back(m);
    return false;
  }
  return true;
}

bool start_plain(void (*body)(), const char *name) {
  return start(run_plain, reinterpret_cast<void *>(body), nullptr, name);
}

bool start_plain(void *(*body)(void *argument), void *argument, const char *name) { return start(body, argument, nullptr, name); }

}  // namespace threads

StackBounds stack_of_thread(uintptr_t thread_pointer) {
  const M *m = sched.all_ms.load(std::memory_order_acquire);  // pairs with enlist()
  for (; m != nullptr; m = m->next_all) {
    if (m->thread_id != 0 && m->thread_pointer == thread_pointer) return stack_bounds_of(m->current);
  }
  return {};
}

}  // namespace warren::scheduler
