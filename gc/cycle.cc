// See cycle.h for the order of things.
#include "gc/cycle.h"

#include "allocator/base/log.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/stop_gate.h"
#include "allocator/heap.h"
#include "gc/assist.h"
#include "gc/dirty_pages.h"
#include "gc/finalizer_thread.h"
#include "gc/heap.h"
#include "gc/malloc_roots.h"
#include "gc/mappings.h"
#include "gc/marker.h"
#include "gc/phase.h"
#include "gc/roots.h"
#include "gc/specials.h"
#include "gc/world.h"

#include <ctime>

namespace warren::gc {

namespace phase {
std::atomic<Phase> current{Phase::kSweep};
std::atomic<uint64_t> black_bytes{0};
}  // namespace phase

Tables tables;

namespace cycle {
namespace {

constinit Mutex lock(LockRank::kCycle);
std::atomic<bool> ready{false};       // release in set_up() pairs with acquire in is_set_up()
bool thread_started GUARDED_BY(lock) = false;
uint32_t begun GUARDED_BY(lock) = 0;  // cycles
uint32_t wanted GUARDED_BY(lock) = 0; // the number of the last cycle that somebody asked for
bool running GUARDED_BY(lock) = false;

// What the waiting sleep on: `wakes` the collector's thread, `done` those in collect(). release and acquire order what the
// cycle did before what they do next.
std::atomic<uint32_t> wakes{0};
std::atomic<uint32_t> done{0};

// relaxed, all: targets and sums, each of which stands alone.
std::atomic<int64_t> percent{100};
std::atomic<uint64_t> trigger{uint64_t{4} << 20};
std::atomic<uint64_t> cycles{0}, forced_cycles{0}, last_end{0}, pause_total{0}, pause_longest{0};
std::atomic<int64_t> memory_limit{INT64_MAX};
std::atomic<bool> asked{false};  // a cycle is on its way: not every allocation asks again

// What the collector's thread scans between two looks at its own account.
constexpr size_t kSlice = size_t{64} << 10;

// Passes over dirty pages before the program is stopped: more than these do not make fewer pages dirty. It is stopped sooner when
// one has found few.
constexpr int kMostPasses = 6;
constexpr size_t kFewPages = 64;

constexpr uint64_t kLeastHeap = uint64_t{4} << 20;

class Pause {
 public:
  Pause() : begin_(os_calls::now()) {}
  uint64_t end() {
    const uint64_t length = os_calls::now() - begin_;
    pause_total.fetch_add(length, std::memory_order_relaxed);
    if (length > pause_longest.load(std::memory_order_relaxed)) pause_longest.store(length, std::memory_order_relaxed);
    return length;
  }

 private:
  uint64_t begin_;
};

void visit_range(uintptr_t low, uintptr_t high, void *context) { static_cast<Marker *>(context)->scan_range(low, high); }

// Data that may be unmapped while it is read.
void visit_copy(uintptr_t low, uintptr_t high, void *context) {
  static uintptr_t words[2048];  // one cycle at a time
  while (low < high) {
    const size_t wanted_bytes = high - low < sizeof words ? high - low : sizeof words;
    const size_t bytes = mappings::copy(words, low, wanted_bytes);
    const auto start = reinterpret_cast<uintptr_t>(words);
    visit_range(start, start + bytes, context);
    if (bytes < wanted_bytes) return;
    low += bytes;
  }
}

// Until nobody has anything grey.
void drain_all(Marker &marker) {
  for (;;) {
    for (bool more = true; more;) {
      const uint64_t before = marker.scanned_bytes();
      more = marker.drain(kSlice);
      assist::note_background(marker.scanned_bytes() - before);
    }
    if (mark_work::take_overflow()) {
      rescan_all_marked(marker);
      continue;
    }
    if (mark_work::all_done()) return;
    os_calls::sleep(20'000);  // somebody who pays has the rest
  }
}

void sweep_everything() {
  uint64_t freed = 0;
  for (auto &kind : span_sets) {
    for (SpanSet &set : kind) {
      for (;;) {
        const stop_gate::Inside gate;
        if (!set.sweep_one(&freed)) break;
      }
    }
  }
}

std::atomic<uint64_t> goal{kLeastHeap};
uint64_t last_scanned = 0;  // by the last cycle

void set_trigger(uint64_t marked) {
  const int64_t growth = percent.load(std::memory_order_relaxed);
  if (growth < 0) return trigger.store(~uint64_t{0}, std::memory_order_relaxed);
  const auto scaled = [growth](uint64_t bytes) { return bytes / 100 * static_cast<uint64_t>(growth); };
  uint64_t target = marked + scaled(marked);
  const uint64_t least = scaled(kLeastHeap);
  if (target < least) target = least;
  goal.store(target, std::memory_order_relaxed);
  trigger.store(marked + (target - marked) / 10 * 7, std::memory_order_relaxed);
}

void mark_stopped_roots(Marker &marker) {
  world::for_each_root_range(visit_range, &marker);
  roots::for_each_data_range(visit_range, &marker);
  malloc_roots::scan(marker);
}

bool run_cycle() {
  uint64_t t0 = os_calls::now(), t1, t2, t3, t4, dp = 0, np = 0, dl = 0, lv = heap::live_bytes.load(std::memory_order_relaxed);
  sweep_everything();
  uint64_t marked;
  {
    Marker marker;
    const bool concurrent = dirty_pages::begin();
    t1 = os_calls::now();
    if (!world::stop()) return false;
    Pause first;
    phase::black_bytes.store(0, std::memory_order_relaxed);
    const uint64_t live = heap::live_bytes.load(std::memory_order_relaxed);
    assist::begin(live, goal.load(std::memory_order_relaxed), last_scanned == 0 ? live : last_scanned + last_scanned / 10);
    phase::current.store(phase::Phase::kMark, std::memory_order_relaxed);
    world::for_each_root_range(visit_range, &marker);
    if (concurrent) {
      world::start();
      first.end();
      t2 = os_calls::now();
      roots::for_each_data_range(visit_copy, &marker);
      malloc_roots::scan(marker);
      specials::scan_roots(marker);
      drain_all(marker);
      for (int pass = 0; pass < kMostPasses; ++pass) {
        const size_t pages = dirty_pages::rescan_running(marker);
        drain_all(marker);
        dp += pages; ++np;
        if (pages <= kFewPages) break;
      }
      t3 = os_calls::now();
      while (!world::stop()) os_calls::sleep(1'000'000);
    } else {
      specials::scan_roots(marker);
    }
    Pause second;
    if (concurrent) dl = dirty_pages::rescan_stopped(marker);
    mark_stopped_roots(marker);
    drain_all(marker);
    marker.flush();
    marked = marker.marked_bytes();
    last_scanned = marker.scanned_bytes() + assist::take_scanned();
    generation.fetch_add(1, std::memory_order_release);
    for (auto &kind : span_sets) {
      for (SpanSet &set : kind) set.flip();
    }
    caches::detach_all();
    phase::current.store(phase::Phase::kSettle, std::memory_order_relaxed);
    world::start();
    (concurrent ? second : first).end();
    t4 = os_calls::now();
  }
  if (options.gctrace.load(std::memory_order_relaxed) != 0) {
    LogLine line;
    line << "gc: prep " << (t1 - t0) / 1000 << " p1 " << (t2 - t1) / 1000 << " mark " << (t3 - t2) / 1000 << " p2 " << (t4 - t3) / 1000 << " us, live " << (lv >> 10) << " marked " << (marked >> 10) << " black "
         << (phase::black_bytes.load(std::memory_order_relaxed) >> 10) << " KiB goal " << (goal.load(std::memory_order_relaxed) >> 10) << " passes " << np << " dirty " << dp << " last " << dl;
    line.write_to(2);
  }
  const size_t queued = specials::settle();
  phase::current.store(phase::Phase::kSweep, std::memory_order_relaxed);
  dirty_pages::end();
  marked += phase::black_bytes.load(std::memory_order_relaxed) + mark_work::take_assisted_bytes();
  heap::live_bytes.store(marked, std::memory_order_relaxed);
  set_trigger(marked);
  asked.store(false, std::memory_order_relaxed);
  if (queued != 0 || specials::any_ready()) finalizer_thread::wake();
  sweep_everything();
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  last_end.store(static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec), std::memory_order_relaxed);
  cycles.fetch_add(1, std::memory_order_relaxed);
  return true;
}

// Carries out a cycle if one is wanted.
bool run_wanted() {
  {
    const MutexLock guard(lock);
    if (running || static_cast<int32_t>(wanted - begun) <= 0) return false;
    running = true;
    ++begun;
  }
  run_cycle();
  {
    const MutexLock guard(lock);
    running = false;
    done.store(begun, std::memory_order_release);
  }
  os_calls::futex_wake(reinterpret_cast<const uint32_t *>(&done), INT32_MAX);
  return true;
}

void collector_thread(void *) {
  for (;;) {
    const uint32_t seen = wakes.load(std::memory_order_acquire);
    if (!run_wanted()) os_calls::futex_wait(reinterpret_cast<const uint32_t *>(&wakes), seen);
  }
}

// Asks for a cycle that has not begun yet. Returns its number; *by_thread: the collector's thread will see to it.
uint32_t request(bool *by_thread) {
  uint32_t number;
  bool start = false;
  {
    const MutexLock guard(lock);
    number = begun + 1;
    if (static_cast<int32_t>(number - wanted) > 0) wanted = number;
    if (!thread_started) start = thread_started = true;
  }
  *by_thread = true;
  if (start && !world::start_collector_thread(collector_thread, nullptr, "warren-gc")) {
    const MutexLock guard(lock);
    thread_started = false;
    *by_thread = false;
    return number;
  }
  wakes.fetch_add(1, std::memory_order_release);
  os_calls::futex_wake(reinterpret_cast<const uint32_t *>(&wakes), 1);
  return number;
}

}  // namespace

bool is_set_up() { return ready.load(std::memory_order_acquire); }

bool set_up() {
  if (!warren::heap::is_set_up() && !warren::heap::set_up()) return false;
  if (!world::set_up()) return false;
  const uint64_t gogc = options.gogc.load(std::memory_order_relaxed);
  percent.store(gogc == kNoLimit ? -1 : static_cast<int64_t>(gogc), std::memory_order_relaxed);
  set_trigger(0);
  ready.store(true, std::memory_order_release);
  return true;
}

void pay_for(size_t bytes) {
  if (phase::is_marking()) return assist::pay(bytes);
  if (heap::live_bytes.load(std::memory_order_relaxed) < trigger.load(std::memory_order_relaxed)) return;
  if (asked.exchange(true, std::memory_order_relaxed)) return;
  bool by_thread;
  request(&by_thread);
  if (!by_thread) run_wanted();
}

void collect() {
  if (!is_set_up() && !set_up()) return;
  bool by_thread;
  const uint32_t number = request(&by_thread);
  forced_cycles.fetch_add(1, std::memory_order_relaxed);
  for (;;) {
    const uint32_t seen = done.load(std::memory_order_acquire);
    if (static_cast<int32_t>(seen - number) >= 0) return;
    if (by_thread || !run_wanted()) os_calls::futex_wait(reinterpret_cast<const uint32_t *>(&done), seen);
  }
}

int set_percent(int value) {
  const int64_t before = percent.exchange(value < 0 ? -1 : value, std::memory_order_relaxed);
  const uint64_t live = heap::live_bytes.load(std::memory_order_relaxed);
  set_trigger(live);
  return static_cast<int>(before);
}

int64_t set_memory_limit(int64_t limit) {
  return limit < 0 ? memory_limit.load(std::memory_order_relaxed) : memory_limit.exchange(limit, std::memory_order_relaxed);
}

Stats stats() {
  const auto get = [](const std::atomic<uint64_t> &value) { return value.load(std::memory_order_relaxed); };
  return {get(cycles), get(forced_cycles), get(trigger), get(last_end), get(pause_total), get(pause_longest)};
}

}  // namespace cycle
}  // namespace warren::gc
