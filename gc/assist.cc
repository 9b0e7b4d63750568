// See assist.h.
#include "gc/assist.h"

#include "allocator/base/os_calls.h"
#include "allocator/base/stop_gate.h"
#include "gc/heap.h"
#include "gc/marker.h"
#include "gc/phase.h"

namespace warren::gc::assist {

std::atomic<uint32_t> waiting{0};

namespace {

// Ratios are in 1/256 of a byte. More than 64 to 1 would stop the program for all practical purposes.
constexpr uint64_t kOne = 256;
constexpr uint64_t kMostRatio = 64 * kOne;

// A thread pays for so much more than it owes, so that it need not come back at once (Go's figure).
constexpr int64_t kPaidAhead = 64 << 10;

// Scanned inside the stop gate at a time. More: pauses wait longer. Less: more trips to the lock.
constexpr size_t kSlice = size_t{32} << 10;

// Waiting for credit. More: the thread stands idle while there is work. Less: system calls.
constexpr uint64_t kNap = 100'000;

// relaxed, all: estimates that are revised all the time.
std::atomic<uint64_t> ratio{kOne};
std::atomic<int64_t> background_credit{0};
std::atomic<uint64_t> goal{0}, expected_scan{0}, scanned_so_far{0};
std::atomic<uint64_t> assisted{0};

void revise() {
  const uint64_t live = heap::live_bytes.load(std::memory_order_relaxed);
  const uint64_t limit = goal.load(std::memory_order_relaxed);
  const uint64_t expected = expected_scan.load(std::memory_order_relaxed);
  const uint64_t done = scanned_so_far.load(std::memory_order_relaxed);
  const uint64_t least = uint64_t{64} << 10;
  const uint64_t work = expected > done + least ? expected - done : least;
  const uint64_t room = limit > live + least ? limit - live : least;
  uint64_t value = work * kOne / room;
  if (value > kMostRatio) value = kMostRatio;
  if (value == 0) value = 1;
  ratio.store(value, std::memory_order_relaxed);
}

bool take_credit(int64_t &debt) {
  int64_t have = background_credit.load(std::memory_order_relaxed);
  while (have > 0) {
    const int64_t take = have < debt ? have : debt;
    if (background_credit.compare_exchange_weak(have, have - take, std::memory_order_relaxed)) {
      debt -= take;
      return true;
    }
  }
  return false;
}

// Scans up to a slice. Returns what was scanned.
size_t scan_slice(int64_t debt) {
  const stop_gate::Inside gate;
  if (!phase::is_marking()) return 0;
  mark_work::enter();
  size_t scanned;
  {
    Marker marker;
    marker.drain(debt < static_cast<int64_t>(kSlice) ? static_cast<size_t>(debt) : kSlice);
    marker.flush();
    mark_work::note_assisted(marker.marked_bytes());
    scanned = marker.scanned_bytes();
  }
  mark_work::leave();
  scanned_so_far.fetch_add(scanned, std::memory_order_relaxed);
  assisted.fetch_add(scanned, std::memory_order_relaxed);
  return scanned;
}

}  // namespace

void begin(uint64_t live, uint64_t heap_goal, uint64_t expected) {
  (void)live;
  goal.store(heap_goal, std::memory_order_relaxed);
  expected_scan.store(expected, std::memory_order_relaxed);
  scanned_so_far.store(0, std::memory_order_relaxed);
  background_credit.store(0, std::memory_order_relaxed);
  revise();
}

void note_background(uint64_t scanned) {
  scanned_so_far.fetch_add(scanned, std::memory_order_relaxed);
  background_credit.fetch_add(static_cast<int64_t>(scanned), std::memory_order_relaxed);
  revise();
}

void end() {}

uint64_t take_scanned() { return assisted.exchange(0, std::memory_order_relaxed); }

void pay(size_t bytes) {
  Cache *cache = current_cache_or_null;
  if (cache == nullptr) return;
  cache->assist_credit -= static_cast<int64_t>(bytes);
  if (cache->assist_credit >= 0) return;
  const auto price = static_cast<int64_t>(ratio.load(std::memory_order_relaxed));
  int64_t debt = (kPaidAhead - cache->assist_credit) * price / static_cast<int64_t>(kOne);
  cache->assist_credit = kPaidAhead;
  while (debt > 0 && phase::is_marking()) {
    take_credit(debt);
    if (debt <= 0) break;
    if (mark_work::any_full()) {
      debt -= static_cast<int64_t>(scan_slice(debt));
      continue;
    }
    waiting.fetch_add(1, std::memory_order_relaxed);
    os_calls::sleep(kNap);
    waiting.fetch_sub(1, std::memory_order_relaxed);
  }
}

}  // namespace warren::gc::assist
