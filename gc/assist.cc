// See assist.h.
#include "gc/assist.h"

#include "allocator/base/os_calls.h"
#include "allocator/base/stop_gate.h"
#include "gc/mark_workers.h"
#include "gc/marker.h"
#include "gc/pacing.h"
#include "gc/phase.h"

#include <cstring>

namespace warren::gc::assist {

std::atomic<uint32_t> waiting{0};

namespace {

// Scanned inside the stop gate at a time. More: pauses wait longer. Less: more trips to the lock.
constexpr size_t kSlice = size_t{32} << 10;

// Waiting for credit, or for something to scan. More: the thread stands idle while there is work. Less: system calls.
constexpr uint64_t kNap = 50'000;

ScanCredit credit;

// relaxed, all: sums.
std::atomic<uint64_t> object_bytes{0}, rescanned_bytes{0}, marked_bytes{0}, nanoseconds{0}, idle_nanoseconds{0};
std::atomic<bool> brake{false};  // relaxed: a moment later serves as well

// Overwrites what calls have left below. The next pause searches this stack: objects that were marked here would look as if the
// program held them, be marked again by the same thread in the next cycle, and so stay for ever.
WARREN_NOINLINE void forget_dead_frames() {
  constexpr size_t kBytes = 8192;  // deeper than marking goes
  char dead[kBytes];
  memset(dead, 0, sizeof dead);
  asm volatile("" : : "r"(dead) : "memory");
}

// Scans up to a slice. Returns what was scanned.
WARREN_NOINLINE size_t mark_slice(size_t most) {
  size_t scanned;
  {
    const stop_gate::Inside gate;
    if (!phase::is_marking()) return 0;
    mark_work::enter();
    {
      Marker marker;
      marker.drain(most < kSlice ? most : kSlice);
      marker.flush();
      marked_bytes.fetch_add(marker.marked_bytes(), std::memory_order_relaxed);
      object_bytes.fetch_add(marker.object_bytes(), std::memory_order_relaxed);
      rescanned_bytes.fetch_add(marker.rescanned_bytes(), std::memory_order_relaxed);
      scanned = marker.scanned_bytes();
    }
    mark_work::leave();
  }
  return scanned;
}

size_t scan_slice(size_t most) {
  const uint64_t begin = os_calls::thread_time();
  const size_t scanned = mark_slice(most);
  nanoseconds.fetch_add(os_calls::thread_time() - begin, std::memory_order_relaxed);
  forget_dead_frames();
  return scanned;
}

// Whoever marks sees that somebody waits, and shares within a microsecond, if it runs; a nap lasts for a hundred.
constexpr int kSpins = 100;

void nap() {
  waiting.fetch_add(1, std::memory_order_relaxed);
  int spins = 0;
  while (!mark_work::any_full() && ++spins < kSpins) __builtin_ia32_pause();
  if (spins == kSpins) os_calls::sleep(kNap);
  waiting.fetch_sub(1, std::memory_order_relaxed);
}

// A thread that has allocated nothing but large objects has no cache yet.
Cache *cache_of_payer() {
  if (current_cache_or_null != nullptr) return current_cache_or_null;
  const stop_gate::Inside gate;
  return caches::mine();
}

}  // namespace

void begin() {
  credit.reset();
  object_bytes.store(0, std::memory_order_relaxed);
  rescanned_bytes.store(0, std::memory_order_relaxed);
  marked_bytes.store(0, std::memory_order_relaxed);
  nanoseconds.store(0, std::memory_order_relaxed);
  idle_nanoseconds.store(0, std::memory_order_relaxed);
}

void note_background(uint64_t scanned) { credit.add(scanned); }

uint64_t scanned() { return object_bytes.load(std::memory_order_relaxed); }
uint64_t rescanned() { return rescanned_bytes.load(std::memory_order_relaxed); }
uint64_t marked() { return marked_bytes.load(std::memory_order_relaxed); }
uint64_t time() { return nanoseconds.load(std::memory_order_relaxed); }

uint64_t idle_time() { return idle_nanoseconds.load(std::memory_order_relaxed); }

void set_brake(bool on) { brake.store(on, std::memory_order_relaxed); }

void reset_in_child() {
  waiting.store(0, std::memory_order_relaxed);
  set_brake(false);
}

void pay(size_t bytes) {
  Cache *cache = cache_of_payer();
  if (cache == nullptr || bytes == 0) return;
  if (brake.load(std::memory_order_relaxed)) return os_calls::sleep(kNap);
  cache->assist_credit -= static_cast<int64_t>(bytes);
  if (cache->assist_credit >= 0) return;
  const Pace pace = pacing::pace();
  uint64_t debt = pace.work_for(static_cast<uint64_t>(-cache->assist_credit));
  if (debt == 0) {
    cache->assist_credit = 0;
    return;
  }
  // Paid for in full below, or marking is over and nobody asks any more.
  cache->assist_credit += static_cast<int64_t>(pace.bytes_for(debt));
  while (debt != 0 && phase::is_marking()) {
    debt -= credit.take(debt);
    if (debt == 0) return;
    if (!mark_work::any_full()) {
      nap();
      if (brake.load(std::memory_order_relaxed)) return;
      continue;
    }
    const size_t done = scan_slice(debt);
    debt = done < debt ? debt - done : 0;
  }
}

void mark_in_background() {
  if (!mark_work::any_full()) return nap();
  credit.add(mark_slice(kSlice));
}

bool is_wanted_of_idle(unsigned busy, unsigned processors) {
  return phase::is_marking() && busy + 1 + mark_workers::count() <= processors && mark_work::any_full();
}

void mark_when_idle() {
  const uint64_t begin = os_calls::now();
  credit.add(mark_slice(kSlice));
  idle_nanoseconds.fetch_add(os_calls::now() - begin, std::memory_order_relaxed);
  forget_dead_frames();
}

void help_once() {
  if (phase::is_marking() && mark_work::any_full()) {
    scan_slice(kSlice);
  } else {
    nap();
  }
}

}  // namespace warren::gc::assist
