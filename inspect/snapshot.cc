// See snapshot.h. The tracer's code runs beside the program in the same memory, with the thread-local words of the
// thread that started it: it makes system calls and nothing else. It has a task of its own, since a thread cannot trace
// its process.
#include "inspect/snapshot.h"

#include "allocator/base/address.h"
#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_memory.h"
#include "allocator/base/stop_gate.h"
#include "allocator/page_heap.h"
#include "gc/cycle.h"
#include "gc/mappings.h"
#include "gc/paged_array.h"
#include "gc/stacks.h"
#include "gc/task_list.h"
#include "inspect/unforked.h"
#include "scheduler/stacks.h"
#include "scheduler/state.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <elf.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

namespace warren::inspect::snapshot {
namespace {

constexpr uint64_t kMicrosecond = 1000, kMillisecond = 1'000'000;

// So long all threads are waited for: one inside vfork cannot be stopped before its child calls exec. After a rest it
// is tried again.
constexpr uint64_t kPatience = 200 * kMillisecond, kRest = 300 * kMillisecond;
constexpr int kAttempts = 10;
constexpr uint64_t kFirstNap = 10 * kMicrosecond, kLastNap = kMillisecond, kGateNap = 30 * kMicrosecond;

constexpr size_t kStackBytes = size_t{512} << 10;

// Vector registers as the kernel saves them; what lies behind (tiles of matrices) holds no pointers.
constexpr size_t kVectorBytes = 2816, kLegacyBytes = 512, kFirstVector = 160;

struct Thread {
  uint32_t id;
  bool stopped;
  int signal;  // that it was about to be delivered, and is when it goes on
  user_regs_struct registers;
  size_t vector_bytes;
  alignas(16) char vectors[kVectorBytes];
};

gc::PagedArray<Thread> threads;  // of this snapshot

// The part of an Outcome that the copy writes, shared with it.
struct Shared {
  std::atomic<uint32_t> may_inspect;  // see unforked.h
  std::atomic<uint64_t> finished;  // relaxed: the copy's end, which is waited for, is the barrier
  uint64_t values[4];
};

struct Request {
  Inspect inspect = nullptr;
  Shared *shared = nullptr;
  uint64_t process = 0;
  ptrdiff_t gate_offset = 0;  // of stop_gate::inside, from a thread's pointer
  bool forgotten = false;  // nobody waits for the tracer, which tidies up after itself
  bool taken = false;
};
Request request;

char *stack = nullptr;
uint32_t tracer = 0;           // its id while it lives; the kernel stores 0 and wakes
uint32_t unreaped = 0;         // a tracer that nobody has waited for
std::atomic<uint32_t> may_go{0};
// The process that takes a snapshot, above the thread inside of take(), which is 0 where nobody waits. A forked child finds its parent's
// and takes over.
std::atomic<uint64_t> busy{0};
constexpr unsigned kProcessShift = 32;

bool by_signal = false;    // in the copy: which of the two ways
uint64_t stop_began = 0, copied_at = 0;

// --- the tracer ---

Thread *find(uint32_t id) {
  for (Thread &thread : threads) {
    if (thread.id == id) return &thread;
  }
  return nullptr;
}

// Calls that give up when a thread is stopped, though no handler has run, and that can be made again.
bool begins_anew(uint64_t call) {
  switch (call) {
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
    case SYS_semop:
    case SYS_semtimedop:
    case SYS_msgrcv:
    case SYS_msgsnd:
    case SYS_rt_sigtimedwait:
    case SYS_io_getevents:
    case SYS_io_pgetevents:
    case SYS_io_uring_enter:
    case SYS_read:
    case SYS_readv:
    case SYS_write:
    case SYS_writev:
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_recvmmsg:
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_accept:
    case SYS_accept4: return true;
    default: return false;
  }
}

// The kernel decides when the thread goes on: if a handler is to run then, the call fails with EINTR as it would have.
void make_restartable(Thread &thread) {
  constexpr auto kInterrupted = static_cast<unsigned long long>(-EINTR);
  constexpr auto kRestartUnlessHandled = static_cast<unsigned long long>(-514);  // the kernel's ERESTARTNOHAND
  user_regs_struct &now = thread.registers;
  if (thread.signal != 0 || now.rax != kInterrupted || static_cast<long long>(now.orig_rax) < 0) return;
  if (!begins_anew(now.orig_rax)) return;
  now.rax = kRestartUnlessHandled;
  os_calls::trace(PTRACE_SETREGS, thread.id, 0, address_of(&now));
}

void read_registers(Thread &thread) {
  os_calls::trace(PTRACE_GETREGS, thread.id, 0, address_of(&thread.registers));
  iovec vectors{thread.vectors, sizeof thread.vectors};
  const long result = os_calls::trace(PTRACE_GETREGSET, thread.id, NT_X86_XSTATE, address_of(&vectors));
  thread.vector_bytes = os_calls::failed(result) ? 0 : vectors.iov_len;
}

// Whether it has stopped or ended by now.
bool has_stopped(Thread &thread) {
  int status = 0;
  const long waited = os_calls::wait_for(thread.id, &status, true);
  if (waited == 0) return false;
  thread.stopped = true;
  if (waited < 0 || !WIFSTOPPED(status)) {
    thread.id = 0;  // gone
    return true;
  }
  thread.signal = status >> 16 == 0 ? WSTOPSIG(status) : 0;
  read_registers(thread);
  return true;
}

bool await_all(uint64_t deadline) {
  uint64_t nap = kFirstNap;
  for (Thread &thread : threads) {
    while (!thread.stopped && !has_stopped(thread)) {
      if (os_calls::now() > deadline) return false;
      os_calls::sleep(nap);
      if (nap < kLastNap) nap *= 2;
    }
  }
  return true;
}

enum class Attached : uint8_t { kAll, kLate, kForbidden };

Attached attach(uint64_t deadline) {
  for (int cut_short = 0;;) {
    const size_t before = threads.size();
    gc::TaskList tasks(request.process);
    if (!tasks.is_open()) return Attached::kForbidden;
    bool allowed = true;
    const bool listed = tasks.walk([&](uint32_t id) {
      if (!allowed || find(id) != nullptr) return;
      const long seized = os_calls::trace(PTRACE_SEIZE, id, 0, 0);
      if (os_calls::failed(seized)) {
        allowed = seized == -ESRCH || gc::task_state(id, request.process) != gc::TaskState::kAlive;
        return;
      }
      Thread fresh{};
      fresh.id = id;
      allowed = threads.push_back(fresh);
    });
    if (!listed || !allowed) return Attached::kForbidden;
    if (threads.size() == before && (tasks.complete() || ++cut_short == gc::kMostCutShort)) return Attached::kAll;
    for (size_t i = before; i < threads.size(); ++i) os_calls::trace(PTRACE_INTERRUPT, threads[i].id, 0, 0);
    if (!await_all(deadline)) return Attached::kLate;
  }
}

bool is_inside_gate(const Thread &thread) {
  if (thread.id == 0 || thread.registers.fs_base == 0) return false;
  uint32_t inside = 0;
  const uintptr_t at = thread.registers.fs_base + static_cast<uintptr_t>(request.gate_offset);
  if (os_calls::copy_memory(os_calls::process_id(), &inside, at, sizeof inside) != sizeof inside) return false;
  return inside != 0;
}

void resume(Thread &thread, int how) {
  os_calls::trace(how, thread.id, 0, static_cast<uintptr_t>(thread.signal));
  thread.stopped = false;
  thread.signal = 0;
}

// Lets those inside run until all have come out.
Attached attach_outside_gate(uint64_t deadline) {
  for (;;) {
    const Attached attached = attach(deadline);
    if (attached != Attached::kAll) return attached;
    bool any = false;
    for (Thread &thread : threads) {
      if (!is_inside_gate(thread)) continue;
      any = true;
      resume(thread, PTRACE_CONT);
    }
    if (!any) return Attached::kAll;
    os_calls::sleep(kGateNap);
    for (const Thread &thread : threads) {
      if (!thread.stopped) os_calls::trace(PTRACE_INTERRUPT, thread.id, 0, 0);
    }
    if (!await_all(deadline)) return Attached::kLate;
  }
}

void let_go() {
  for (Thread &thread : threads) {
    if (thread.id == 0) continue;
    // One that has not stopped yet is let go by the tracer's end.
    if (thread.stopped) {
      make_restartable(thread);
      resume(thread, PTRACE_DETACH);
    }
  }
}

[[noreturn]] void inspect_and_end() {
  copied_at = os_calls::now();
  Shared &shared = *request.shared;
  request.inspect(shared.values);
  shared.finished.store(1, std::memory_order_relaxed);
  os_calls::end_process(0);
}

void await_end(long copy) {
  int status;
  while (os_calls::wait_for(static_cast<uint64_t>(copy), &status, false) == -EINTR) {
  }
}

// Those that have stopped run for a while; the others are asked once more.
void rest() {
  for (Thread &thread : threads) {
    if (thread.stopped && thread.id != 0) {
      make_restartable(thread);
      resume(thread, PTRACE_CONT);
    }
  }
  os_calls::sleep(kRest);
  for (const Thread &thread : threads) {
    if (!thread.stopped) os_calls::trace(PTRACE_INTERRUPT, thread.id, 0, 0);
  }
}

void stop_and_copy() {
  threads.clear();
  Attached attached = Attached::kLate;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (attempt != 0) rest();
    stop_began = os_calls::now();
    attached = attach_outside_gate(stop_began + kPatience);
    if (attached != Attached::kLate) break;
  }
  long copy = -1;
  if (attached == Attached::kAll) {
    copy = unforked::copy_whole(request.shared->may_inspect);
    if (copy == 0) inspect_and_end();
  }
  let_go();
  if (os_calls::failed(copy)) return;
  request.taken = true;
  await_end(copy);
}

void vacate() { busy.store(0, std::memory_order_release); }  // pairs with the acquire in occupy()

void trace_program(void *) {
  // acquire: pairs with the release in start_tracer().
  for (const uint64_t patience = os_calls::now() + unforked::kPatience; may_go.load(std::memory_order_acquire) == 0;) {
    if (os_calls::now() > patience) return;  // the program was killed just then
    os_calls::futex_wait_shared(os_calls::futex_word(may_go), 0, kRest);
  }
  stop_and_copy();
  if (!request.forgotten) return;
  if (!request.taken) {
    constexpr char kText[] = "warren: leaks: the program may not be traced or does not stop: no report on a signal\n";
    os_calls::write(2, kText, sizeof kText - 1);
  }
  os_calls::munmap(request.shared, kOsPageSize);
  vacate();
}

// --- the program ---

bool start_tracer() {
  may_go.store(0, std::memory_order_relaxed);  // the clone is a barrier
  constexpr unsigned long kFlags =
      CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_UNTRACED | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  const uint64_t mask = os_calls::block_all_signals();
  const long id = os_calls::clone_thread(kFlags, stack + kStackBytes, &tracer, nullptr, trace_program, nullptr);
  if (!os_calls::failed(id)) os_calls::allow_tracing_by(static_cast<uint64_t>(id));
  unreaped = os_calls::failed(id) ? 0 : static_cast<uint32_t>(id);
  may_go.store(1, std::memory_order_release);  // pairs with the acquire in trace_program()
  os_calls::futex_wake_shared(os_calls::futex_word(may_go), 1);
  os_calls::restore_signals(mask);  // not earlier: a handler may end the program, and the tracer would wait for ever
  return !os_calls::failed(id);
}

void reap() {
  // acquire: pairs with the kernel's store at the tracer's end.
  for (uint32_t id; (id = __atomic_load_n(&tracer, __ATOMIC_ACQUIRE)) != 0;) {
    os_calls::futex_wait_shared(&tracer, id, 10 * kMillisecond);
  }
  if (unreaped == 0) return;
  int status;
  while (os_calls::wait_for(unreaped, &status, false) == -EINTR) {
  }
  unreaped = 0;
}

// The collector's signal instead. It leaves the collector's threads and the scavenger alone, whose locks keep the heap as it is.
void stop_and_copy_by_signal() NO_THREAD_SAFETY_ANALYSIS {
  // A fork that could not stop the world itself waits for the world's lock with locks that keep it from being stopped.
  constexpr uint64_t kLongestWait = 5'000'000'000;
  gc::cycle::background_lock.lock();
  if (!gc::world::stop(kLongestWait)) return gc::cycle::background_lock.unlock();
  by_signal = true;
  stop_began = os_calls::now();
  page_heap::lock.lock();
  const uint64_t mask = os_calls::block_all_signals();
  const long copy = unforked::copy_whole(request.shared->may_inspect);
  if (copy == 0) {
    page_heap::lock.unlock_after_fork(true);  // the demangler may allocate
    inspect_and_end();
  }
  os_calls::restore_signals(mask);
  page_heap::lock.unlock();
  gc::world::start();
  gc::cycle::background_lock.unlock();
  by_signal = false;
  if (os_calls::failed(copy)) return;
  request.taken = true;
  await_end(copy);
}

bool occupy(uint32_t thread) {
  const uint64_t self = os_calls::process_id();
  uint64_t found = 0;
  // acquire: pairs with the release in vacate().
  while (!busy.compare_exchange_strong(found, self << kProcessShift | thread, std::memory_order_acquire)) {
    if (found >> kProcessShift == self) return false;
    tracer = unreaped = 0;  // the parent's
  }
  return true;
}

bool prepare(Inspect inspect) {
  request = {};
  request.inspect = inspect;
  request.process = os_calls::process_id();
  const auto thread_pointer = reinterpret_cast<uintptr_t>(__builtin_thread_pointer());
  request.gate_offset = static_cast<ptrdiff_t>(address_of(&stop_gate::inside) - thread_pointer);
  const long page = os_calls::mmap(nullptr, kOsPageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  if (os_calls::failed(page)) return false;
  request.shared = reinterpret_cast<Shared *>(page);
  return true;
}

}  // namespace

bool set_up() {
  if (stack != nullptr) return true;
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const long mapped = os_calls::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, kFlags);
  if (os_calls::failed(mapped)) return false;
  stack = reinterpret_cast<char *>(mapped);
  gc::stacks::set_up();
  unforked::prepare();  // no memory: what fork leaves out is left out
  return true;
}

Outcome take(Inspect inspect) {
  Outcome outcome{};
  if (!set_up()) return outcome;
  while (!occupy(os_calls::thread_id())) os_calls::sleep(kMillisecond);
  reap();
  if (prepare(inspect)) {
    if (start_tracer()) reap();
    if (!request.taken) stop_and_copy_by_signal();
    outcome.taken = request.taken;
    outcome.finished = request.shared->finished.load(std::memory_order_relaxed) != 0;
    for (size_t i = 0; i < 4; ++i) outcome.values[i] = request.shared->values[i];
    os_calls::munmap(request.shared, kOsPageSize);
  }
  vacate();
  return outcome;
}

bool is_taken_by_me() {
  // relaxed: what this thread has stored itself.
  return static_cast<uint32_t>(busy.load(std::memory_order_relaxed)) == os_calls::thread_id();
}

void reset_in_child() {
  tracer = unreaped = 0;
  vacate();
}

const char *failure(const Outcome &outcome) {
  if (!outcome.taken) return "the program could not be stopped (is there no /proc, or no descriptor left?), or not be copied";
  return outcome.finished ? nullptr : "the search ended early";
}

bool take_and_forget(Inspect inspect) {
  if (stack == nullptr || !occupy(0)) return false;
  reap();
  if (prepare(inspect)) {
    request.forgotten = true;
    if (start_tracer()) return true;
    os_calls::munmap(request.shared, kOsPageSize);
  }
  vacate();
  return false;
}

namespace {

// The scheduler's thread, if it is one.
const scheduler::M *machine_of(const Thread &thread) {
  // acquire: pairs with the release of who put it there.
  const scheduler::M *m = scheduler::sched.all_ms.load(std::memory_order_acquire);
  while (m != nullptr && m->thread_id != thread.id) m = m->next_all;
  return m;
}

// A thread of the scheduler's that sleeps until there is work: in the list of idle ones, or in the network's poll. What
// its registers and its stack hold are old words about fibers, and would stay there until it runs again.
bool is_idle(const Thread &thread, const scheduler::M *m) NO_THREAD_SAFETY_ANALYSIS {
  if (m == nullptr || m->current != nullptr) return false;
  const auto call = static_cast<long long>(thread.registers.orig_rax);
  if (call == SYS_epoll_wait || call == SYS_epoll_pwait || call == SYS_epoll_pwait2) return true;
  const scheduler::M *idle = scheduler::sched.idle_ms;
  while (idle != nullptr && idle != m) idle = idle->next_idle;
  return idle != nullptr;
}

// One that runs a fiber has left its own stack in the schedule loop, where it holds nothing either.
bool runs_fiber(const Thread &thread, const scheduler::M *m) {
  return m != nullptr && scheduler::stack_bounds_of(at_address<const void>(thread.registers.rsp)).low != nullptr;
}

void visit_stopped_by_signal(gc::VisitRange visit, void *context) {
  struct Call {
    gc::VisitRange visit;
    void *context;
  } call{visit, context};
  gc::world::for_each_thread_range(
      [](uint32_t, uintptr_t low, uintptr_t high, void *argument) {
        const auto *to = static_cast<const Call *>(argument);
        to->visit(low, high, to->context);
      },
      &call);
}

}  // namespace

void for_each_thread_range(gc::VisitRange visit, void *context) {
  gc::mappings::forget();  // the program's list
  gc::mappings::prepare();
  if (by_signal) return visit_stopped_by_signal(visit, context);
  const gc::world::FiberStacks *fibers = gc::world::fiber_stacks();
  for (const Thread &thread : threads) {
    if (thread.id == 0) continue;
    const scheduler::M *m = machine_of(thread);
    const user_regs_struct &now = thread.registers;
    const bool idle = is_idle(thread, m);
    if (!idle) {
      const uintptr_t general = address_of(&thread.registers);
      visit(general, general + sizeof thread.registers, context);
      const uintptr_t vectors = address_of(thread.vectors);
      if (thread.vector_bytes > kLegacyBytes) {
        visit(vectors + kFirstVector, vectors + align_down(thread.vector_bytes, sizeof(void *)), context);
      }
    }
    const gc::stacks::Thread stopped{now.fs_base, now.rsp, nullptr, thread.id == request.process,
                                     idle || runs_fiber(thread, m)};
    gc::stacks::for_each_range(stopped, fibers, visit, context);
  }
}

bool any_thread_on(uintptr_t low, uintptr_t high) {
  if (by_signal) return false;
  for (const Thread &thread : threads) {
    if (thread.id != 0 && thread.registers.rsp - low < high - low) return true;
  }
  return false;
}

void for_each_thread(void (*visit)(uintptr_t thread_pointer, void *context), void *context) {
  if (by_signal) return gc::world::for_each_thread_pointer(visit, context);
  for (const Thread &thread : threads) {
    if (thread.id != 0) visit(thread.registers.fs_base, context);
  }
}

void for_each_own_range(gc::VisitRange visit, void *context) {
  visit(address_of(stack), address_of(stack) + kStackBytes, context);
  visit(address_of(threads.begin()), address_of(threads.begin()) + threads.capacity_bytes(), context);
}

uint64_t stopped_so_far() { return copied_at - stop_began; }

}  // namespace warren::inspect::snapshot
