// See cycle.h for the order of things.
#include "gc/cycle.h"

#include "allocator/base/annotations.h"
#include "allocator/base/cpu_count.h"
#include "allocator/base/layout.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/stop_gate.h"
#include "allocator/heap.h"
#include "gc/assist.h"
#include "gc/collector_thread.h"
#include "gc/dirty_pages.h"
#include "gc/finalizer_thread.h"
#include "gc/fork.h"
#include "gc/generations.h"
#include "gc/heap.h"
#include "gc/held_blocks.h"
#include "gc/malloc_roots.h"
#include "gc/mappings.h"
#include "gc/mark_workers.h"
#include "gc/marker.h"
#include "gc/mutation.h"
#include "gc/pacing.h"
#include "gc/phase.h"
#include "gc/rooted_memory.h"
#include "gc/roots.h"
#include "gc/specials.h"
#include "gc/trace_line.h"
#include "gc/verifier.h"
#include "gc/world.h"

#include <ctime>

namespace warren::gc {

namespace phase {
std::atomic<Phase> current{Phase::kSweep};
std::atomic<uint64_t> black_bytes{0}, black_scannable_bytes{0};
}  // namespace phase

Tables tables;

namespace cycle {

constinit Mutex background_lock(LockRank::kBackground);
constinit Mutex set_up_lock(LockRank::kBackground);

void sweep_everything() {
  for (auto &kind : span_sets) {
    for (SpanSet &set : kind) {
      for (bool more = true; more;) {
        const MutexLock background(background_lock);  // for each span anew: a fork need not wait for long
        const stop_gate::Inside gate;
        more = set.sweep_one();
      }
    }
  }
}

namespace {

WARREN_WRITTEN_AT_START void (*end_callback)() = nullptr;
std::atomic<bool> ready{false};  // release in set_up() pairs with acquire in is_set_up()
uint64_t set_up_at = 0;

// Marking is expected to begin, or to end, soon. Not after somebody has waited long, nor when the world could not be had, until
// it begins.
std::atomic<bool> worth_waiting{true};  // relaxed: a hint

// relaxed, all: statistics.
std::atomic<uint64_t> cycles{0}, last_end{0}, pause_total{0}, pause_longest{0}, collector_time{0};
WARREN_SHOW_ADDRESS("gc.cycles", &cycles);
WARREN_SHOW_ADDRESS("gc.last_end_unix_ns", &last_end);
WARREN_SHOW_ADDRESS("gc.pause_total_ns", &pause_total);
WARREN_SHOW_ADDRESS("gc.pause_longest_ns", &pause_longest);
WARREN_SHOW_ADDRESS("gc.cpu_ns", &collector_time);
WARREN_SHOW_ADDRESS("gc.is_set_up", &ready);

Generations generations;  // one cycle at a time
uint64_t unwatching_time = 0;  // likewise: of the last cycle, and on the next one's account

// What the collector's thread scans between two looks at its own account.
constexpr size_t kSlice = size_t{64} << 10;

// Passes over dirty pages before the program is stopped for the last one: until one finds few, or they do not become
// fewer because nothing is cleared. In the first ones the program runs freely, and in the very first, threads that allocate take part.
constexpr int kMostPasses = 16;
constexpr int kFreePasses = 2;
constexpr size_t kFewPages = 96;

// In later passes the program runs and stands still in turns, so that fewer pages are written to than scanned. It stands still
// longer once they hardly become fewer: the runs last as long as threads take to be stopped, which on a busy machine is more
// than is meant here. Longer stops: longer pauses. Longer runs: the passes never end.
constexpr uint64_t kThrottledRun = 100'000, kThrottledStop = 400'000, kLongestThrottledStop = 800'000;

// Between the last pass and the second pause somebody else may have had this thread's processor, and the program may have written to
// any number of pages. When there are more than so many the pause is broken off for another pass. After 4 times on a machine at work
// (a load of 9 on two processors): one longest pause of 36 ms in six runs, 12 in others.
constexpr size_t kMostLastPages = 256;
constexpr int kMostTries = 16;

// The world may not be had just now: there is no descriptor, or a thread sits in a system call that cannot be interrupted. The second,
// before marking has begun: each attempt watches the whole heap.
constexpr uint64_t kRetry = 1'000'000, kLongestRetry = 64'000'000;

// What an attempt waits for threads that do not come. More: who forks waits longer for the lock. Less: busy threads that are
// slow to come are taken for those.
constexpr uint64_t kLongestWait = 1'000'000'000;

// Clock time between marks.
class Stopwatch {
 public:
  uint64_t lap() {
    const uint64_t now = os_calls::now();
    const uint64_t length = now - at_;
    at_ = now;
    return length;
  }

 private:
  uint64_t at_ = os_calls::now();
};

// By one thread at a time, in a running world. Not read anew by each of the cycles of a small heap: it takes a dozen system calls.
unsigned processors() {
  constexpr uint64_t kValid = 1'000'000'000;
  static uint64_t read_at = 0;
  static unsigned count = 0;
  const uint64_t now = os_calls::now();
  if (count == 0 || now - read_at > kValid) {
    count = static_cast<unsigned>(usable_cpus());
    read_at = now;
  }
  return count;
}

void note_pause(uint64_t length) {
  pause_total.fetch_add(length, std::memory_order_relaxed);
  if (length > pause_longest.load(std::memory_order_relaxed)) pause_longest.store(length, std::memory_order_relaxed);
}

void visit_range(uintptr_t low, uintptr_t high, void *context) { static_cast<Marker *>(context)->scan_range(low, high); }

void visit_thread_range(uintptr_t low, uintptr_t high, void *context) {
  visit_range(low, high, context);
  held_blocks::for_each_exception(low, high, visit_range, context);
}

// Data that may be unmapped while it is read. Of what cannot be read more and more is skipped, so that a hole of any size takes a
// few calls; what lies in the last part skipped is found in the second pause.
void visit_copy(uintptr_t low, uintptr_t high, void *context) {
  WARREN_LARGE_TABLE static uintptr_t words[2048];  // one cycle at a time
  size_t skipped = kOsPageSize;
  while (low < high) {
    const size_t wanted = high - low < sizeof words ? high - low : sizeof words;
    const size_t bytes = mappings::copy(words, low, wanted);
    visit_range(address_of(words), address_of(words) + bytes, context);
    low += bytes;
    if (bytes == wanted) {
      skipped = kOsPageSize;
      continue;
    }
    low = align_down(low, kOsPageSize);
    if (high - low <= skipped) return;
    low += skipped;
    skipped *= 2;
  }
}

// Lets the program run and stops it in turns, as long as that succeeds.
class Throttle {
 public:
  Throttle(bool *succeeds, uint64_t stop) : succeeds_(succeeds), stop_(stop) {}
  ~Throttle() { release(); }

  void look() {
    const uint64_t now = os_calls::now();
    if (!stopped_) {
      if (!*succeeds_ || now - since_ < kThrottledRun) return;
      *succeeds_ = world::stop(kLongestWait);
      if (!*succeeds_) return;
    } else if (now - since_ < stop_) {
      return;
    } else {
      note_pause(now - since_);
      world::start(kThrottledRun);
    }
    stopped_ = !stopped_;
    since_ = os_calls::now();
  }

  void release() {
    if (!stopped_) return;
    note_pause(os_calls::now() - since_);
    world::start(kThrottledRun);
    stopped_ = false;
  }

 private:
  bool stopped_ = false;
  bool *succeeds_;
  uint64_t stop_;
  uint64_t since_ = os_calls::now();
};

class Cycle {
 public:
  explicit Cycle(bool forced) : forced_(forced) {}

  void run() {
    sweep_everything();
    minor_ = (!forced_ || mode() == Generations::Mode::kAlways) && mode() != Generations::Mode::kOff;
    trace_.heap_at_start = heap::live_bytes.load(std::memory_order_relaxed);
    trace_.goal = pacing::goal();
    trace_.procs = processors();
    const bool concurrent = concurrent_ = begin_marking();
    if (concurrent) {
      mark_workers::wake(extra_workers());
      if (minor_) dirty_pages::list_remembered(marker_);
      roots::for_each_data_range_running(visit_copy, &marker_);
      rooted_memory::for_each(visit_range, &marker_);
      const uint64_t before = marker_.scanned_bytes();
      world::for_each_parked_stack(visit_range, &marker_);
      trace_.stacks += marker_.scanned_bytes() - before;
      malloc_roots::scan(marker_);
      specials::scan_roots(marker_);
      drain_all();
      size_t pages_before = dirty_pages::list_running(marker_, [](void *cycle) { static_cast<Cycle *>(cycle)->drain_all(); }, this);
      // There is little left to scan, and it is on this thread's pages: who allocates waits instead of helping.
      paying_ = false;
      assist::set_brake(true);
      for (int pass = 1; pages_before > kFewPages && pass < kMostPasses; ++pass) {
        const size_t before_it = pages_before;
        pages_before = rescan(pass);
        if (pass > kFreePasses && pages_before > before_it / 4 * 3) {
          if (!mutation::clears()) break;
          throttled_stop_ = kLongestThrottledStop;
        }
      }
      assist::set_brake(false);
    }
    end_marking(concurrent);
    sweep_everything();
  }

  void print(uint64_t number) {
    if (options.gctrace.load(std::memory_order_relaxed) == 0) return;
    trace_.number = number;
    trace_.since_start = began_ - set_up_at;
    const uint64_t all = (os_calls::now() - set_up_at) * trace_.procs;
    trace_.percent = static_cast<unsigned>(collector_time.load(std::memory_order_relaxed) * 100 / (all == 0 ? 1 : all));
    trace_.is_forced = forced_;
    trace_.is_minor = minor_;
    trace_.tracking = mutation::name(mutation::mechanism());
    LogLine line;
    line << trace_;
    line.write_to(2);
  }

 private:
  static Generations::Mode mode() {
    const auto chosen = static_cast<Generations::Mode>(options.gc_minor.load(std::memory_order_relaxed));
    return chosen == Generations::Mode::kAuto && heap::freed_by_hand.load(std::memory_order_relaxed) ? Generations::Mode::kOff : chosen;
  }

  // From here on stores are noted. False: they cannot be.
  bool watch() {
    minor_ = minor_ && marks_kept.load(std::memory_order_relaxed) && dirty_pages::begin(true, false);
    if (minor_) {
      old_ = count_old();
      minor_ = mode() == Generations::Mode::kAlways || generations.pays({old_.scannable, old_.remembered});
    }
    if (minor_) return true;
    old_ = {};
    if (marks_kept.load(std::memory_order_relaxed)) all_forgotten_ = forget_old();
    return dirty_pages::begin(false, mode() != Generations::Mode::kAlways);
  }

  // Pause 1. False: the world is still stopped and background_lock held, because the program's stores cannot be seen.
  bool begin_marking() NO_THREAD_SAFETY_ANALYSIS {
    bool concurrent;
    for (uint64_t retry = kRetry;; retry = retry < kLongestRetry ? 2 * retry : retry) {
      background_lock.lock();
      concurrent = watch();
      if (world::stop(kLongestWait)) break;
      // Meanwhile others may fork, and free what is large: nothing that is freed is watched.
      dirty_pages::end(false);
      background_lock.unlock();
      worth_waiting.store(false, std::memory_order_relaxed);
      os_calls::sleep(retry);
    }
    worth_waiting.store(true, std::memory_order_relaxed);
    Stopwatch pause;
    if (!all_forgotten_) forget_old();
    trace_.globals = roots::data_bytes();
    dedicated_ = pacing::begin(trace_.procs, trace_.globals, minor_, old_.scannable);
    assist::begin();
    pacing::revise({});
    phase::black_bytes.store(0, std::memory_order_relaxed);
    phase::black_scannable_bytes.store(0, std::memory_order_relaxed);
    phase::current.store(phase::Phase::kMark, std::memory_order_relaxed);
    const uint64_t before = marker_.scanned_bytes();
    if (concurrent) {
      world::for_each_thread_range(
          [](uint32_t, uintptr_t low, uintptr_t high, void *context) { visit_thread_range(low, high, context); }, &marker_);
      trace_.stacks = marker_.scanned_bytes() - before;
      marker_.flush();
      trace_.clock.first_pause = pause.lap();
      world::start();
      background_lock.unlock();
      note_pause(trace_.clock.first_pause);
    }
    watch_.lap();
    return concurrent;
  }

  // One pass over what is dirty.
  size_t rescan(int pass) {
    if (pass < kFreePasses) {
      const size_t pages = dirty_pages::rescan_running(marker_, nullptr, nullptr);
      drain_all();
      return pages;
    }
    background_lock.lock();
    size_t pages;
    {
      Throttle throttle(&can_throttle_, throttled_stop_);
      pages = dirty_pages::rescan_running(marker_, [](void *context) { static_cast<Throttle *>(context)->look(); }, &throttle);
    }
    background_lock.unlock();
    drain_all();
    return pages;
  }

  // With background_lock, but not while it is waited for. Nothing is freed as long as one marks.
  void stop_at_last() NO_THREAD_SAFETY_ANALYSIS {
    for (background_lock.lock(); !world::stop(kLongestWait); background_lock.lock()) {
      background_lock.unlock();
      worth_waiting.store(false, std::memory_order_relaxed);
      assist::set_brake(true);  // who allocates has nothing to scan that would pay for it
      os_calls::sleep(kRetry);
    }
    assist::set_brake(false);
  }

  // The same, and all that is dirty is scanned.
  void stop_and_rescan() NO_THREAD_SAFETY_ANALYSIS {
    for (int tries = mutation::clears() ? 0 : kMostTries;; ++tries) {
      stop_at_last();
      trace_.clock.mark += watch_.lap();
      if (dirty_pages::rescan_stopped(marker_, tries < kMostTries ? kMostLastPages : ~size_t{0})) return;
      assist::set_brake(true);
      const uint64_t stood = watch_.lap();
      world::start(kThrottledRun);
      background_lock.unlock();
      note_pause(stood);
      trace_.clock.mark += stood;
      drain_all();
      rescan(kFreePasses);
    }
  }

  // Pause 2. Not concurrent: begin_marking() has left background_lock held.
  void end_marking(bool concurrent) NO_THREAD_SAFETY_ANALYSIS {
    if (concurrent) {
      mark_workers::rest();
      stop_and_rescan();
    } else {
      trace_.clock.mark = watch_.lap();
      specials::scan_roots(marker_);
    }
    const uint64_t before = marker_.scanned_bytes();
    world::for_each_root_range(visit_thread_range, &marker_);
    if (!concurrent) trace_.stacks = marker_.scanned_bytes() - before;
    rooted_memory::for_each(visit_range, &marker_);
    roots::for_each_data_range(visit_range, &marker_);
    malloc_roots::scan(marker_);
    drain_all();
    verifier::check_marks();
    generation.fetch_add(1, std::memory_order_release);
    for (auto &kind : span_sets) {
      for (SpanSet &set : kind) set.flip();
    }
    caches::detach_all();
    phase::current.store(phase::Phase::kSettle, std::memory_order_relaxed);
    trace_.heap_at_end = heap::live_bytes.load(std::memory_order_relaxed);
    scannable_at_end_ = heap::scannable_bytes.load(std::memory_order_relaxed);
    trace_.clock.last_pause = watch_.lap();  // the first thing that start() does is to let them go
    world::start();
    note_pause(trace_.clock.last_pause);
    settle();
    background_lock.unlock();
  }

  void settle() {
    specials::settle();
    const uint64_t black = phase::black_bytes.load(std::memory_order_relaxed);
    const uint64_t scannable = phase::black_scannable_bytes.load(std::memory_order_relaxed) + marker_.object_bytes() + old_.scannable;
    const uint64_t marked = black + marker_.marked_bytes() + assist::marked() + old_.all;
    const uint64_t scanned = done().heap + done().again;
    const bool next_is_minor =
        generations.next_is_minor({minor_, forced_, trace_.heap_at_end, marked, black, scannable, scanned, pacing::goal()}, mode()) &&
        concurrent_ && dirty_pages::can_stay();
    marks_kept.store(next_is_minor, std::memory_order_relaxed);
    trace_.heap_live = marked;
    trace_.cpu.assist = assist::time();
    trace_.cpu.background = os_calls::thread_time() - thread_time_ + (concurrent_ ? mark_workers::time() : 0) + unwatching_time;
    trace_.cpu.idle = assist::idle_time();
    trace_.cpu.first_pause = trace_.clock.first_pause * trace_.procs;
    trace_.cpu.last_pause = trace_.clock.last_pause * trace_.procs;
    collector_time.fetch_add(trace_.cpu.assist + trace_.cpu.background, std::memory_order_relaxed);
    // Before the pages are let go of, which takes up to 80 ms in a heap of 1.3 GiB: until now who allocates is past the goal.
    pacing::end({trace_.heap_at_end, scannable_at_end_, marked, scannable + assist::marked(), black, done(), trace_.cpu.assist,
                 trace_.cpu.background, minor_, next_is_minor});
    phase::current.store(phase::Phase::kSweep, std::memory_order_release);  // pairs with the acquire in may_sweep()
    const uint64_t before_unwatching = os_calls::thread_time();
    dirty_pages::end(next_is_minor);
    unwatching_time = os_calls::thread_time() - before_unwatching;
    if (specials::any_ready()) finalizer_thread::wake();
  }

  // Beside this thread, which never rests, also where the pacer would have it mark for a part of the time. (Resting as Go's fractional
  // worker does, once it has had to wait for a processor: on one processor steps of bench/gc/slowdown.cc took 4.8 instead of 3.9 times
  // what they take without a collector, since marking lasted longer and more pages were written to meanwhile; where another thread
  // asked for the cycles, 10.5 instead of 11.4 times.)
  unsigned extra_workers() const {
    const uint64_t asked = options.gc_workers.load(std::memory_order_relaxed);
    if (asked == kNoLimit) return 0;
    const uint64_t all = asked != 0 ? asked : dedicated_;
    return all == 0 ? 0 : static_cast<unsigned>(all - 1);
  }

  // Until nobody has anything grey.
  void drain_all() {
    for (;;) {
      for (bool more = true; more;) {
        const uint64_t before = marker_.scanned_bytes();
        more = marker_.drain(kSlice);
        assist::note_background(marker_.scanned_bytes() - before);
        if (paying_ && !world::stopped()) pacing::revise(done());
      }
      if (mark_work::take_overflow()) {
        rescan_all_marked(marker_);
        continue;
      }
      if (mark_work::all_done()) return;
      os_calls::sleep(20'000);  // somebody who pays has the rest
    }
  }

  ScanBytes done() const {
    ScanBytes bytes;
    bytes.heap = marker_.object_bytes() + assist::scanned();
    bytes.stacks = trace_.stacks;
    bytes.globals = trace_.globals;
    bytes.again = marker_.rescanned_bytes() + assist::rescanned();
    return bytes;
  }

  bool forced_;
  bool minor_ = false;
  OldBytes old_;
  bool all_forgotten_ = true;  // false: the marks of a span that was being swept are still there
  bool paying_ = true;
  bool concurrent_ = false;
  bool can_throttle_ = true;
  uint64_t throttled_stop_ = kThrottledStop;
  unsigned dedicated_ = 0;  // workers that the pacer wants for this cycle
  Marker marker_;
  CycleTrace trace_;
  uint64_t scannable_at_end_ = 0;
  Stopwatch watch_;
  uint64_t began_ = os_calls::now();
  uint64_t thread_time_ = os_calls::thread_time();
};

}  // namespace

void run(bool forced) {
  Cycle cycle(forced);
  cycle.run();
  if (end_callback != nullptr) end_callback();
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  last_end.store(static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec), std::memory_order_relaxed);
  cycle.print(cycles.fetch_add(1, std::memory_order_relaxed) + 1);
}

WARREN_AT_START void at_end(void (*callback)()) { end_callback = callback; }

bool is_set_up() { return ready.load(std::memory_order_acquire); }

bool set_up() {
  if (!warren::heap::is_set_up() && !warren::heap::set_up()) return false;
  if (!world::set_up()) return false;
  MutexLock guard(set_up_lock);
  if (is_set_up()) return true;
  pacing::set_up();
  set_up_at = os_calls::now();
  fork_handlers::install_for_collector();
  ready.store(true, std::memory_order_release);
  return true;
}

namespace {

// What marking waits for may be this thread's (the loader's lock, in a callback of dl_iterate_phdr), so not for ever.
template <class Condition>
void nap_while(Condition goes_on) {
  constexpr uint64_t kNap = 50'000, kPatience = 200'000'000;
  const uint64_t until = os_calls::now() + kPatience;
  while (worth_waiting.load(std::memory_order_relaxed) && goes_on()) {
    if (os_calls::now() >= until) worth_waiting.store(false, std::memory_order_relaxed);
    os_calls::sleep(kNap);
  }
}

// The heap is at its goal, and marking has not begun: who allocates waits for it, as in Go it would begin it itself. A heap of
// small objects was at seven times its goal before the collector's thread came to run, one of large objects grew without end.
// Where marking has just ended, it waits until what is dead no longer counts.
WARREN_NOINLINE void await_marking() {
  nap_while([] {
    return !phase::is_marking() && collector_thread::asked_for() && heap::live_bytes.load(std::memory_order_relaxed) >= pacing::goal();
  });
}

// The heap is past its goal, and marking has not ended. What is new has to be looked at as a whole in each of the last passes,
// so large objects that come meanwhile make these and the pause after them longer than it takes to make the objects.
WARREN_NOINLINE void await_end_of_marking() { nap_while(phase::is_marking); }

constexpr size_t kLarge = size_t{32} << 10;

}  // namespace

void pay_for(size_t bytes) {
  const uint64_t live = heap::live_bytes.load(std::memory_order_relaxed);
  if (phase::is_marking()) {
    assist::pay(bytes);
    if (WARREN_UNLIKELY(bytes > kLarge && live >= pacing::goal())) await_end_of_marking();
    return;
  }
  if (!pacing::is_time(live)) return;
  collector_thread::ask();
  if (WARREN_UNLIKELY(live >= pacing::goal())) await_marking();
}

void collect() {
  if (is_set_up() || set_up()) collector_thread::run_and_wait();
}

Stats stats() {
  const auto get = [](const std::atomic<uint64_t> &value) { return value.load(std::memory_order_relaxed); };
  return {get(cycles), pacing::goal(), get(last_end), get(pause_total), get(pause_longest)};
}

}  // namespace cycle
}  // namespace warren::gc
