// Stopping and starting the threads of the process. See world.h.
//
// A stop, by its one thread:             a thread of the program:
//   epoch_ becomes odd
//   walk the threads: a record and a
//   signal for each new one       ---->    in the handler: kAsked -> kArrived, writes where its registers are,
//   wait until awaited_ is 0      <----    awaited_ - 1; waits while epoch_ is what it was
//   walk again, until nobody is new
// A start:
//   epoch_ becomes even           ---->    returns from the handler
//
// A thread that does not arrive has ended (its record is dropped), or cannot be interrupted now: it is inside vfork, or
// blocks the signal. After a while the others go on, and the stop begins anew later, with more patience.
//
// Invariant: a signal acts only on the record it was sent for, in the stop it was sent in; otherwise its handler
// returns.
#include "gc/world.h"

#include "allocator/base/annotations.h"
#include "allocator/base/log.h"
#include "allocator/base/mutex.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_process.h"
#include "allocator/base/os_thread.h"
#include "allocator/base/own_threads.h"
#include "gc/cut_calls.h"
#include "gc/mappings.h"
#include "gc/paged_array.h"
#include "gc/registers_x86_64.h"
#include "gc/roots.h"
#include "gc/stacks.h"
#include "gc/stop_signal.h"
#include "gc/task_list.h"

#include <atomic>
#include <cerrno>
#include <pthread.h>
#include <signal.h>
#include <utility>

namespace warren::gc::world {

namespace {

constexpr uint64_t kMicrosecond = 1000, kMillisecond = 1'000'000, kSecond = 1'000'000'000;

// Between two looks at whether the awaited are still there. Threads that end while they are asked make the shorter one
// count. A closer look reads a file of the thread's.
constexpr uint64_t kFirstLook = 100 * kMicrosecond, kLastLook = 10 * kMillisecond, kLookClosely = 2 * kMillisecond;

// So long the others stand still for one that does not come; then they run for as long, and the next time it is twice
// that.
constexpr uint64_t kFirstPatience = 100 * kMillisecond, kLastPatience = 10 * kSecond;

constexpr uint64_t kWarnAfter = kSecond;

// --- records: one for each thread asked in this stop ---

enum class State : uint64_t { kAsked, kArrived, kDropped };
constexpr uint64_t state_in(uint64_t epoch, State state) { return epoch << 2 | static_cast<uint64_t>(state); }

struct Record {
  std::atomic<uint64_t> state;  // state_in(): a handler that was held up does not take the next stop's for its own
  uint32_t thread;
  // Written by the thread between kArrived and its turn at awaited_.
  uintptr_t thread_pointer;
  const ucontext_t *context;
};

// Handlers hold numbers of records, so records stay where they are.
constexpr size_t kChunkRecords = 256, kMaxChunks = 16384;
WARREN_LARGE_TABLE Record *chunks[kMaxChunks];

size_t record_count = 0;
Record &record(size_t number) { return chunks[number / kChunkRecords][number % kChunkRecords]; }

// What a signal carries: the low bits of the epoch, and the number of the record.
constexpr unsigned kNumberBits = 24;
constexpr uint64_t value_of(uint64_t epoch, size_t number) { return epoch << kNumberBits | number; }

std::atomic<uint64_t> epoch_{0};    // odd: the world is stopped, or being stopped
std::atomic<uint32_t> awaited_{0};  // asked and not arrived, and 1 for the stopping thread while it asks

const uint32_t *low_word_of(const std::atomic<uint64_t> &word) { return reinterpret_cast<const uint32_t *>(&word); }

// --- in the stopped thread ---

void arrive(uint64_t value, const ucontext_t *context) {
  // relaxed: the signal came after the record was written, and the exchange below tells whether it is still that
  // record.
  const uint64_t epoch = epoch_.load(std::memory_order_relaxed);
  const size_t number = value & ((uint64_t{1} << kNumberBits) - 1);
  if (value_of(epoch, number) != value || epoch % 2 == 0) return;  // of a stop that was given up
  Record &mine = record(number);
  uint64_t expected = state_in(epoch, State::kAsked);
  // relaxed: what follows is published by awaited_.
  const uint64_t arrived = state_in(epoch, State::kArrived);
  if (!mine.state.compare_exchange_strong(expected, arrived, std::memory_order_relaxed)) return;
  mine.thread_pointer = reinterpret_cast<uintptr_t>(__builtin_thread_pointer());
  mine.context = context;
  // release: pairs with the acquires in wait_for_arrivals() and abandon().
  if (awaited_.fetch_sub(1, std::memory_order_release) == 1) os_calls::futex_wake(os_calls::futex_word(awaited_), 1);
  // acquire: pairs with the release in start(): what the collector wrote is seen.
  while (epoch_.load(std::memory_order_acquire) == epoch) {
    os_calls::futex_wait(low_word_of(epoch_), static_cast<uint32_t>(epoch));
  }
}

// Every other signal is blocked here, so that no code of the program's runs on top.
void on_signal(int, void *information, void *context) {
  const auto *signal = static_cast<const siginfo_t *>(information);
  if (signal->si_code != stop_signal::kCode || static_cast<uint64_t>(signal->si_pid) != os_process::id()) return;
  const uint64_t value = reinterpret_cast<uint64_t>(signal->si_value.sival_ptr);
  if (stop_gate::inside != 0) {
    cut_calls::left.deferred = value;
    stop_gate::inside |= 1;
    return;
  }
  arrive(value, static_cast<const ucontext_t *>(context));
  cut_calls::note(context);
}

// --- the stopping thread's ---

constinit Mutex lock(LockRank::kWorld);
std::atomic<uint64_t> process{0};  // whose world this is; 0: not set up. release/acquire: pairs within set_up()
uint32_t stopper = 0;  // who has stopped the world
WARREN_WRITTEN_AT_START const FiberStacks *fibers = nullptr;

constexpr size_t kMaxCollectorThreads = 512;
std::atomic<uint32_t> collector_threads[kMaxCollectorThreads];  // ids; relaxed: found late is found at the next look

WARREN_LARGE_TABLE OwnThread at_rest[kMaxCollectorThreads];  // all their lives: none runs anything of the program's

bool is_quiet(uint32_t thread) {
  for (const std::atomic<uint32_t> &other : collector_threads) {
    const uint32_t id = other.load(std::memory_order_relaxed);
    if (id == thread) return true;
    if (id == 0) break;
  }
  return thread == os_thread::id();
}

// Threads of the kernel's that have no instruction of the program to stop at: io_uring's. Their ids may be used again.
PagedArray<uint32_t> kernel_threads;

// Who has a record: open addressing, keyed by id, entries valid for one epoch.
struct Known {
  uint32_t thread;
  uint32_t epoch;
};
PagedArray<Known> known;
size_t known_capacity = 0;

bool note_known(uint32_t thread, uint64_t epoch) {
  const auto tag = static_cast<uint32_t>(epoch);
  size_t at = (thread * uint32_t{0x9e3779b1}) & (known_capacity - 1);
  for (; known[at].epoch == tag; at = (at + 1) & (known_capacity - 1)) {
    if (known[at].thread == thread) return false;
  }
  known[at] = {thread, tag};
  return true;
}

// Makes room for one more thread. False: no memory.
bool make_room(uint64_t epoch) {
  const size_t chunk = record_count / kChunkRecords;
  if (chunk >= kMaxChunks) return false;
  if (chunks[chunk] == nullptr) {
    constexpr size_t kBytes = align_up(kChunkRecords * sizeof(Record), kOsPageSize);
    void *fresh = os_memory::reserve(kBytes, kOsPageSize);
    if (fresh == nullptr) return false;
    if (os_memory::prepare(fresh, kBytes, true) != os_memory::PrepareResult::kOk) {
      os_memory::unreserve(fresh, kBytes);
      return false;
    }
    chunks[chunk] = static_cast<Record *>(fresh);
  }
  if (known_capacity > 2 * record_count + 64) return true;
  const size_t wanted = known_capacity == 0 ? 512 : 2 * known_capacity;
  known.clear();
  if (!known.reserve(wanted)) return false;
  known_capacity = wanted;
  for (size_t i = 0; i < wanted; ++i) known[i] = {};
  for (size_t i = 0; i < record_count; ++i) note_known(record(i).thread, epoch);
  return true;
}

enum class Outcome : uint8_t { kStopped, kLate, kImpossible };

bool queue_is_full = false;  // under the world's lock: why a stop was impossible

class Stop {
 public:
  explicit Stop(uint64_t patience) : deadline_(os_calls::now() + patience), self_(os_calls::thread_id()) {}

  Outcome run() {
    if (!tasks_.is_open()) return Outcome::kImpossible;
    record_count = 0;
    mine_ = epoch_.load(std::memory_order_relaxed) + 1;  // only who stops writes it
    epoch_.store(mine_, std::memory_order_relaxed);      // each signal that is sent is a barrier
    for (int cut_short = 0;;) {
      const size_t before = record_count;
      const Outcome outcome = ask_all();
      if (outcome != Outcome::kStopped) {
        abandon();
        return outcome;
      }
      // All that are known stand still; only threads that are left alone, and such as nobody knows yet, can end or be made.
      if (!tasks_.complete() && (record_count != before || ++cut_short < kMostCutShort)) continue;
      if (!listed_self_) {  // the list is of another name space of processes
        abandon();
        return Outcome::kImpossible;
      }
      // The kernel's own count tells whether there is any other.
      if (record_count == before || tasks_.count() == live_ + 1 + quiet_) return Outcome::kStopped;
    }
  }

 private:
  Outcome ask_all() {
    awaited_.store(1, std::memory_order_relaxed);  // everybody who was asked has arrived, nobody else writes it
    bias_ = 1;
    quiet_ = 0;
    bool possible = true;
    const bool listed = tasks_.walk([&](uint32_t thread) {
      if (thread == self_) {
        listed_self_ = true;
      } else if (is_quiet(thread) || is_kernel_thread(thread)) {
        ++quiet_;
      } else if (possible) {
        possible = ask(thread);
      }
    });
    if (!listed || !possible) return Outcome::kImpossible;
    return wait_for_arrivals() ? Outcome::kStopped : Outcome::kLate;
  }

  // False: no memory, or the kernel refuses.
  bool ask(uint32_t thread) {
    if (!make_room(mine_)) return false;
    if (!note_known(thread, mine_)) return true;
    Record &asked = record(record_count);
    asked.thread = thread;
    asked.state.store(state_in(mine_, State::kAsked), std::memory_order_relaxed);  // the signal is the barrier
    const uint64_t value = value_of(mine_, record_count++);
    awaited_.fetch_add(1, std::memory_order_relaxed);
    const uint64_t here = process.load(std::memory_order_relaxed);
    for (;;) {
      const long result = os_calls::queue_signal(here, thread, stop_signal::number(), stop_signal::kCode, value);
      if (result == 0) {
        ++live_;
        return true;
      }
      if (result == -EAGAIN && os_calls::now() < deadline_) {
        // The user's queue of signals is full: each thread that arrives makes room for one.
        os_calls::futex_wait_for(os_calls::futex_word(awaited_), 0, kFirstLook);
        continue;
      }
      queue_is_full = result == -EAGAIN;
      asked.state.store(state_in(mine_, State::kDropped), std::memory_order_relaxed);
      awaited_.fetch_sub(1, std::memory_order_relaxed);
      return result == -ESRCH;
    }
  }

  bool wait_for_arrivals() {
    uint64_t look = kFirstLook;
    // acquire: pairs with the release in arrive(); the records are written.
    uint32_t left = awaited_.fetch_sub(1, std::memory_order_acquire) - 1;
    bias_ = 0;
    const uint64_t began = os_calls::now();
    while (left != 0) {
      if (os_calls::futex_wait_for(os_calls::futex_word(awaited_), left, look) == -ETIMEDOUT) {
        const uint64_t now = os_calls::now();
        drop_the_gone(now - began > kLookClosely);
        if (now > deadline_) return awaited_.load(std::memory_order_acquire) == 0;  // acquire: as above
        if (look < kLastLook) look *= 2;
      }
      left = awaited_.load(std::memory_order_acquire);  // acquire: as above
    }
    return true;
  }

  // Whether the record was still waited for.
  bool drop(Record &asked) {
    uint64_t expected = state_in(mine_, State::kAsked);
    const uint64_t dropped = state_in(mine_, State::kDropped);
    if (!asked.state.compare_exchange_strong(expected, dropped, std::memory_order_relaxed)) return false;
    --live_;
    awaited_.fetch_sub(1, std::memory_order_relaxed);
    return true;
  }

  void drop_the_gone(bool closely) {
    for (size_t i = 0; i < record_count; ++i) {
      Record &asked = record(i);
      if (asked.state.load(std::memory_order_relaxed) != state_in(mine_, State::kAsked)) continue;
      if (os_calls::queue_signal(process.load(std::memory_order_relaxed), asked.thread, 0, 0, 0) == -ESRCH) {
        drop(asked);
      } else if (is_quiet(asked.thread)) {  // a thread of the collector's that has just begun
        drop(asked);
        ++quiet_;
      } else if (closely) {
        const TaskState state = task_state(asked.thread);
        if (state == TaskState::kKernel) kernel_threads.push_back(asked.thread);
        if (state != TaskState::kAlive) {
          drop(asked);
        } else if (const uint64_t blocked = blocked_signals(asked.thread); (blocked & stop_signal::bit()) != 0) {
          stop_signal::open_in(asked.thread, blocked);
        }
      }
    }
  }

  // Nobody is waited for any more. Who arrives this very moment is let through, so that the records are free.
  void abandon() {
    for (size_t i = 0; i < record_count; ++i) drop(record(i));
    // acquire: pairs with the release in arrive().
    for (uint32_t left; (left = awaited_.load(std::memory_order_acquire)) > bias_;) {
      os_calls::futex_wait_for(os_calls::futex_word(awaited_), left, kFirstLook);
    }
  }

  bool is_kernel_thread(uint32_t thread) {
    for (size_t i = 0; i < kernel_threads.size(); ++i) {
      if (kernel_threads[i] != thread) continue;
      if (task_state(thread) == TaskState::kKernel) return true;
      kernel_threads.erase(i, i + 1);
      break;
    }
    return false;
  }

  TaskList tasks_;
  uint64_t deadline_;
  uint32_t self_;
  uint64_t mine_ = 0;
  uint32_t bias_ = 0;  // what awaited_ is when nobody is awaited
  size_t live_ = 0, quiet_ = 0;  // asked and there; left alone, in the last walk
  bool listed_self_ = false;
};

// Names the threads that keep the world from being stopped.
void warn() {
  for (size_t i = 0; i < record_count; ++i) {
    const Record &asked = record(i);
    if (asked.state.load(std::memory_order_relaxed) % 4 != static_cast<uint64_t>(State::kDropped)) continue;
    if (task_state(asked.thread) != TaskState::kAlive) continue;
    LogLine line;
    line << "warren: gc: waiting for thread " << uint64_t{asked.thread};
    if ((blocked_signals(asked.thread) & stop_signal::bit()) != 0) {
      line << ", which blocks signal " << static_cast<uint64_t>(stop_signal::number());
    } else {
      line << ", which is stopped or inside vfork";
    }
    line.write_to(2);
  }
}

// Once: who waits for a cycle waits until a signal is free, and nothing else tells why.
bool take_signal() {
  static bool said = false;  // under the world's lock
  if (stop_signal::take(on_signal)) return true;
  if (std::exchange(said, true)) return false;
  LogLine line;
  line << "warren: gc: nothing can be collected while the program handles each signal from "
       << uint64_t{stop_signal::kLowest} << " to " << uint64_t{stop_signal::kHighest};
  line.write_to(2);
  return false;
}

// Once, likewise: RLIMIT_SIGPENDING may be 0, or used up by other processes of the user's for as long as they like.
void warn_of_queue() {
  static bool said = false;  // under the world's lock
  if (std::exchange(said, true)) return;
  LogLine line;
  line << "warren: gc: nothing can be collected while no signal can be queued (RLIMIT_SIGPENDING); it is tried again";
  line.write_to(2);
}

void release_all() {
  if (epoch_.load(std::memory_order_relaxed) % 2 == 0) return;  // relaxed: its own
  epoch_.fetch_add(1, std::memory_order_release);  // release: pairs with the acquire in arrive()
  os_calls::futex_wake(low_word_of(epoch_), 0x7fffffff);
}

// Once more, with the loader's lock held for as long as it takes to stop the others: then its list holds still.
Outcome stop_and_walk(uint64_t patience) {
  struct Attempt {
    uint64_t patience;
    Outcome outcome;
  } attempt{patience, Outcome::kImpossible};
  const bool walked = roots::walk(
      [](void *context) {
        auto &now = *static_cast<Attempt *>(context);
        now.outcome = Stop(now.patience).run();
        return now.outcome == Outcome::kStopped;
      },
      &attempt);
  return attempt.outcome == Outcome::kStopped && !walked ? Outcome::kImpossible : attempt.outcome;
}

// Until when the world has run for as long as it stood still before, or, after a stop that succeeded, for kLongestRun. Without
// this, where processors are scarce, a thread would find the next signal when it returns from the handler of the last one,
// and never get further.
// Relaxed: written with the world's lock held; who sees it late stops sooner, once.
constexpr uint64_t kLongestRun = 10 * kMillisecond;
std::atomic<uint64_t> runs_until{0};
uint64_t stop_began = 0;

// For how long stops have waited in vain since the last one that succeeded. Under the world's lock.
uint64_t waited_in_vain = 0;

bool stop_all(uint64_t longest) {
  const uint64_t began = os_calls::now();
  for (uint64_t patience = kFirstPatience < longest ? kFirstPatience : longest;;) {
    Outcome outcome = Stop(patience).run();
    if (outcome == Outcome::kStopped && !roots::still_valid()) {
      release_all();
      outcome = stop_and_walk(patience);
    }
    if (outcome == Outcome::kStopped) waited_in_vain = 0;
    if (outcome == Outcome::kImpossible && std::exchange(queue_is_full, false)) {
      waited_in_vain += patience;
      if (waited_in_vain >= kWarnAfter) warn_of_queue();
    }
    if (outcome != Outcome::kLate) return outcome == Outcome::kStopped;
    if (waited_in_vain < kWarnAfter && waited_in_vain + patience >= kWarnAfter) warn();
    waited_in_vain += patience;
    release_all();
    if (os_calls::now() - began + patience >= longest) {
      runs_until.store(os_calls::now() + patience, std::memory_order_relaxed);
      return false;
    }
    os_calls::sleep(patience);
    if (patience < kLastPatience) patience *= 2;
    const uint64_t gone = os_calls::now() - began;
    const uint64_t left = gone < longest ? longest - gone : 0;
    if (patience > left) patience = left;
  }
}

// Threads that wait to fork. Stops let them go first: one stop after another would leave them no moment in which they
// run and the lock is free. Relaxed: a stop that sees it late comes first once more.
std::atomic<uint32_t> forking{0};

void reset_in_child() {
  if (process.load(std::memory_order_relaxed) == 0) return;
  process.store(os_process::id(), std::memory_order_relaxed);  // the child has one thread
  for (std::atomic<uint32_t> &thread : collector_threads) thread.store(0, std::memory_order_relaxed);
  kernel_threads.clear();
  stopper = 0;
  waited_in_vain = 0;
}

// Whether who forks had stopped the world before. Written with the world's lock held, by who holds it.
bool held_before_fork = false;

// Not for ever: in a child made behind libc's back those it counts do not exist.
void let_forks_pass() {
  for (int tries = 0; tries < 100; ++tries) {
    const uint32_t waiting = forking.load(std::memory_order_relaxed);
    if (waiting == 0) return;
    os_calls::futex_wait_for(os_calls::futex_word(forking), waiting, kMillisecond);
  }
}

void let_the_world_run() {
  const uint64_t until = runs_until.load(std::memory_order_relaxed), now = os_calls::now();
  if (now < until) os_calls::sleep(until - now);
}

void prepare_fork() NO_THREAD_SAFETY_ANALYSIS {
  if (lock.held_by_me()) {
    held_before_fork = true;
    return;
  }
  // Also where nothing was ever stopped: another thread may be about to, for the first time.
  forking.fetch_add(1, std::memory_order_relaxed);
  lock.lock_for_fork();
  held_before_fork = false;
  forking.fetch_sub(1, std::memory_order_relaxed);
  os_calls::futex_wake(os_calls::futex_word(forking), 0x7fffffff);
}

void after_fork_in_parent() NO_THREAD_SAFETY_ANALYSIS {
  if (!held_before_fork) return lock.unlock_after_fork(false);
  held_before_fork = false;
}

void stop_at_gate() {
  stop_gate::inside = 0;
  // Sent anew, so that the registers are where a stopped thread's are.
  const uint32_t self = os_calls::thread_id();
  os_calls::queue_signal(os_process::id(), self, stop_signal::number(), stop_signal::kCode, cut_calls::left.deferred);
}

void after_fork_in_child() {
  forking.store(0, std::memory_order_relaxed);  // who waited is not here
  if (!held_before_fork) lock.unlock_after_fork(true);
  held_before_fork = false;
  reset_in_child();
}

}  // namespace

bool set_up() {
  if (process.load(std::memory_order_acquire) != 0) return true;  // acquire: pairs with the release below
  MutexLock guard(lock);
  if (process.load(std::memory_order_relaxed) != 0) return true;
  stacks::set_up();
  stop_gate::stop_here = stop_at_gate;
  if (!take_signal()) return false;
  process.store(os_process::id(), std::memory_order_release);  // release: pairs with the acquire above
  return true;
}

bool stop(uint64_t longest) NO_THREAD_SAFETY_ANALYSIS {
  if (!set_up()) return false;
  let_the_world_run();
  let_forks_pass();
  lock.lock();
  stop_began = os_calls::now();
  if (process.load(std::memory_order_relaxed) != os_process::id()) reset_in_child();  // forked behind libc's back
  const bool mapped = mappings::prepare();
  if (mapped && (stop_signal::ours() || take_signal()) && stop_all(longest)) {
    stopper = os_calls::thread_id();
    return true;
  }
  release_all();
  mappings::forget();
  lock.unlock();
  return false;
}

void start() {
  const uint64_t stood = os_calls::now() - stop_began;
  start(stood < kLongestRun ? stood : kLongestRun);
}

void start(uint64_t least_run) NO_THREAD_SAFETY_ANALYSIS {
  stopper = 0;
  runs_until.store(os_calls::now() + least_run, std::memory_order_relaxed);
  release_all();
  mappings::forget();
  lock.unlock();
}

void let_run() { release_all(); }

bool stopped() { return epoch_.load(std::memory_order_relaxed) % 2 != 0; }

namespace {

// Hands on what is visited of one thread, with its id.
struct OneThread {
  VisitThreadRange visit;
  void *context;
  uint32_t thread;
};

void visit_of(uintptr_t low, uintptr_t high, void *context) {
  const auto *one = static_cast<const OneThread *>(context);
  one->visit(one->thread, low, high, one->context);
}

}  // namespace

WARREN_NOINLINE void for_each_thread_range(VisitThreadRange visit, void *context) {
  const uint64_t first = process.load(std::memory_order_relaxed);
  for (size_t i = 0; i < record_count; ++i) {
    const Record &stopped = record(i);
    // relaxed: awaited_ was read as 0 since.
    if (stopped.state.load(std::memory_order_relaxed) % 4 != static_cast<uint64_t>(State::kArrived)) continue;
    const stacks::Thread thread{stopped.thread_pointer, stack_pointer(*stopped.context), stopped.context, stopped.thread == first};
    OneThread one{visit, context, stopped.thread};
    stacks::for_each_range(thread, fibers, visit_of, &one);
  }
  if (is_quiet(stopper)) return;
  // What the caller has in registers that a call preserves; the others are on its stack already.
  PreservedRegisters registers;
  read_preserved(registers);
  const uintptr_t low = address_of(registers);
  visit(stopper, low, low + sizeof registers, context);
  const auto thread_pointer = reinterpret_cast<uintptr_t>(__builtin_thread_pointer());
  OneThread one{visit, context, stopper};
  stacks::for_each_range({thread_pointer, low, nullptr, stopper == first}, fibers, visit_of, &one);
}

void for_each_root_range(VisitRange visit, void *context) {
  struct Any {
    VisitRange visit;
    void *context;
  } any{visit, context};
  for_each_thread_range(
      [](uint32_t, uintptr_t low, uintptr_t high, void *argument) {
        const auto *inner = static_cast<const Any *>(argument);
        inner->visit(low, high, inner->context);
      },
      &any);
  if (fibers != nullptr) fibers->for_each_parked(visit, context);
}

void for_each_parked_stack(VisitRange visit, void *context) {
  if (fibers != nullptr) fibers->for_each_parked_stack(visit, context);
}

void for_each_thread_pointer(void (*visit)(uintptr_t thread_pointer, void *context), void *context) {
  for (size_t i = 0; i < record_count; ++i) {
    const Record &stopped = record(i);
    // relaxed: awaited_ was read as 0 since.
    if (stopped.state.load(std::memory_order_relaxed) % 4 != static_cast<uint64_t>(State::kArrived)) continue;
    visit(stopped.thread_pointer, context);
  }
  visit(reinterpret_cast<uintptr_t>(__builtin_thread_pointer()), context);
}

size_t thread_count() {
  TaskList tasks;
  size_t count = 0;
  if (tasks.is_open()) tasks.walk([&](uint32_t thread) { count += is_quiet(thread) ? 0 : 1; });
  return count;
}

bool on_collector_thread() { return is_quiet(os_calls::thread_id()); }

WARREN_AT_START void set_fiber_stacks(const FiberStacks *stacks) { fibers = stacks; }
const FiberStacks *fiber_stacks() { return fibers; }

void block_signals_but_the_stop() {
  // Faults of the code that runs here are the program's to handle.
  os_calls::set_signal_mask(~(stop_signal::kNeverBlocked | stop_signal::bit()));
}

WARREN_AT_START void install_fork_handlers() { pthread_atfork(prepare_fork, after_fork_in_parent, after_fork_in_child); }

// --- the collector's own threads ---

namespace {

struct Beginning {
  void (*body)(void *);
  void *argument;
  const char *name;
  uint32_t registered;
};

// Its place among collector_threads, or kMaxCollectorThreads.
size_t enroll(uint32_t thread) {
  size_t place = 0;
  for (; place < kMaxCollectorThreads; ++place) {
    uint32_t expected = 0;
    if (collector_threads[place].compare_exchange_strong(expected, thread, std::memory_order_relaxed)) break;
  }
  return place;
}

void *run_collector_thread(void *argument) {
  auto *begun = static_cast<Beginning *>(argument);
  const Beginning mine = *begun;
  const size_t place = enroll(os_calls::thread_id());
  const bool enrolled = place < kMaxCollectorThreads;
  os_calls::name_thread(mine.name);
  // release: pairs with the acquire in start_collector_thread().
  __atomic_store_n(&begun->registered, enrolled ? 1 : 2, __ATOMIC_RELEASE);
  os_calls::futex_wake(&begun->registered, 1);
  if (!enrolled) return nullptr;
  at_rest[place].begin();
  at_rest[place].rest();
  mine.body(mine.argument);
  at_rest[place].work();
  at_rest[place].end();
  return nullptr;
}

}  // namespace

bool start_collector_thread(void (*body)(void *), void *argument, const char *name) {
  OwnThreads::announce();
  Beginning begun{body, argument, name, 0};
  // All but the two that libc cannot do without: setuid waits for every thread to answer one of them.
  const uint64_t before = os_calls::set_signal_mask(~(uint64_t{3} << 31));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, run_collector_thread, &begun);
  pthread_attr_destroy(&attributes);
  os_calls::set_signal_mask(before);
  if (error != 0) return false;
  uint32_t registered;
  // acquire: pairs with the release in run_collector_thread().
  while ((registered = __atomic_load_n(&begun.registered, __ATOMIC_ACQUIRE)) == 0) {
    os_calls::futex_wait(&begun.registered, 0);
  }
  return registered == 1;
}

}  // namespace warren::gc::world
