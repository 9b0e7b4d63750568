// See reclaim.h.
#include "inspect/reclaim.h"

#include "allocator/base/annotations.h"
#include "allocator/base/address.h"
#include "allocator/base/log.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_process.h"
#include "allocator/heap.h"
#include "allocator/page_heap.h"
#include "gc/world.h"
#include "inspect/heap_blocks.h"
#include "inspect/leak_roots.h"
#include "inspect/reach.h"
#include "inspect/snapshot.h"

#include <atomic>
#include <cstring>
#include <pthread.h>
#include <sys/mman.h>

namespace warren::inspect::reclaim {
namespace {

// At gogc=100. Go's least heap is a quarter of it; but here each cycle copies the process, which takes milliseconds.
constexpr uint64_t kLeastGoal = uint64_t{16} << 20;

// A program that allocates faster than is freed waits for the cycle at this multiple of the goal, in its slow paths.
constexpr uint64_t kBrakeAt = 2;
constexpr uint64_t kBrakeNanoseconds = 20'000'000;

bool on = false;

// How many cycles were asked for, and how many of these had been when the last one began that is over.
std::atomic<uint32_t> asked{0};     // relaxed: nothing goes with it
std::atomic<uint32_t> finished{0};  // release at the end of a cycle, acquire in collect()

// What the search found, in memory that the copy shares with the program: one bit for each 8 bytes of the arena, set where a lost
// block starts. Here while a cycle runs.
constexpr unsigned kBitShift = 3;
static_assert(size_t{1} << kBitShift == kTinySize, "the least block");
uint64_t *lost = nullptr;
size_t lost_words = 0;

// --- in the copy ---

enum Value : unsigned { kLost, kLostBytes, kLiveBytes, kGood };

void search_copy(uint64_t (&values)[4]) {
  leak_roots::note_kernel_words();
  os_calls::close_all_but(os_process::keep_stderr(), -1);  // a peer waits for what the program closes
  if (!reach::prepare(reach::EndPointers::kAll) || !leak_roots::scan() || reach::ran_out_of_memory()) return;
  uint64_t count = 0, lost_bytes = 0, live_bytes = 0;
  heap_blocks::for_each([&](heap_blocks::HeapBlock block) {
    const size_t bit = (block.start - arena.start) >> kBitShift;
    if (reach::is_reached(block.start)) {
      live_bytes += block.bytes;
    } else if (bit / 64 < lost_words) {  // else the arena has grown meanwhile
      lost[bit / 64] |= uint64_t{1} << (bit % 64);
      ++count;
      lost_bytes += block.bytes;
    }
  });
  values[kLost] = count;
  values[kLostBytes] = lost_bytes;
  values[kLiveBytes] = live_bytes;
  values[kGood] = 1;
}

// --- in the program ---

uint64_t used_bytes() {
  const page_heap::Stats heap = page_heap::stats();
  return (heap.grown_pages - heap.free_pages) * kPageSize;
}

uint32_t ask() {
  const uint32_t number = asked.fetch_add(1, std::memory_order_relaxed) + 1;
  os_calls::futex_wake(os_calls::futex_word(asked), 1);
  return number;
}

// A thread that waits here can be stopped, and the cycle needs nothing that it could hold; but it never waits for long.
void wait_for_cycle() {
  const uint32_t over = finished.load(std::memory_order_relaxed);
  if (asked.load(std::memory_order_relaxed) != over) os_calls::futex_wait_for(os_calls::futex_word(finished), over, kBrakeNanoseconds);
}

// What is called at a use mark; gogc may have been switched off since the mark was set.
bool wanted() { return options.gogc.load(std::memory_order_relaxed) != kNoLimit; }
void ask_if_wanted() {
  if (wanted()) ask();
}
void brake_if_wanted() {
  if (wanted()) heap::brake.store(wait_for_cycle, std::memory_order_relaxed);
}

// By Go's rule, from what is in use when nothing is lost.
void ask_when_grown(uint64_t kept) {
  const uint64_t percent = options.gogc.load(std::memory_order_relaxed);
  heap::brake.store(nullptr, std::memory_order_relaxed);
  if (percent == kNoLimit) return page_heap::call_when_used({kNoLimit, nullptr}, {kNoLimit, nullptr});
  const uint64_t least = kLeastGoal / 100 * percent;
  const uint64_t grown = kept / 100 * (100 + percent);
  const uint64_t goal = (grown > least ? grown : least) >> kPageShift;
  page_heap::call_when_used({goal, ask_if_wanted}, {goal * kBrakeAt, brake_if_wanted});
}

void trace(const snapshot::Outcome &outcome, uint64_t used_before, uint64_t began) {
  if (options.gctrace.load(std::memory_order_relaxed) == 0) return;
  static uint64_t number = 0;
  LogLine line;
  line << "gc malloc " << ++number << ": " << (os_calls::now() - began) / 1'000'000 << " ms, " << (used_before >> 20) << "->"
       << (used_bytes() >> 20) << " MB, " << (outcome.values[kLiveBytes] >> 20) << " MB live, " << outcome.values[kLost]
       << " blocks freed, " << (outcome.values[kLostBytes] >> 20) << " MB";
  line.write_to(2);
}

void free_lost() {
  constexpr size_t kAtOnce = 1024;
  WARREN_LARGE_TABLE static void *blocks[kAtOnce];
  size_t count = 0;
  for (size_t word = 0; word < lost_words; ++word) {
    for (uint64_t bits = lost[word]; bits != 0; bits &= bits - 1) {
      blocks[count++] = at_address<void>(arena.start + ((word * 64 + static_cast<size_t>(__builtin_ctzll(bits))) << kBitShift));
    }
    if (count > kAtOnce - 64 || word + 1 == lost_words) {
      heap::release_lost(blocks, count);
      count = 0;
    }
  }
  memset(blocks, 0, sizeof blocks);  // the next search finds its roots here, too
}

void cycle() {
  const uint64_t began = os_calls::now(), used = used_bytes();
  uint64_t kept = used;
  const size_t bytes = align_up((arena.grown_bytes() >> kBitShift) / 8 + 8, kOsPageSize);
  const long mapped = os_calls::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE);
  if (!os_calls::failed(mapped)) {
    lost = reinterpret_cast<uint64_t *>(mapped);
    lost_words = bytes / sizeof *lost;
    const snapshot::Outcome outcome = snapshot::take(search_copy);
    if (snapshot::failure(outcome) == nullptr && outcome.values[kGood] != 0) {
      free_lost();
      // What was allocated since the copy was made does not count.
      kept = outcome.values[kLostBytes] < used ? used - outcome.values[kLostBytes] : 0;
      trace(outcome, used, began);
    }
    os_calls::munmap(lost, bytes);
    lost = nullptr;
  }
  ask_when_grown(kept);
}

void run_cycles(void *) {
  for (uint32_t seen = 0;;) {
    os_calls::futex_wait(os_calls::futex_word(asked), seen);
    const uint32_t now = asked.load(std::memory_order_relaxed);
    if (now == seen) continue;
    seen = now;
    cycle();
    finished.store(seen, std::memory_order_release);
    os_calls::futex_wake(os_calls::futex_word(finished), INT32_MAX);
  }
}

bool start_thread() {
  on = gc::world::start_collector_thread(run_cycles, nullptr, "warren-collect");
  if (on) ask_when_grown(used_bytes());
  return on;
}

void in_child() {
  if (!on) return;
  asked.store(0, std::memory_order_relaxed);
  finished.store(0, std::memory_order_relaxed);
  if (lost != nullptr) os_calls::munmap(lost, lost_words * sizeof *lost);
  lost = nullptr;
  start_thread();
}

}  // namespace

WARREN_AT_START void set_up() {
  if (options.gc.load(std::memory_order_relaxed) != kGcCollect) return;
  os_process::keep_stderr();
  if (snapshot::set_up() && gc::world::set_up()) {
    leak_roots::set_up();
    if (start_thread()) {
      pthread_atfork(nullptr, nullptr, in_child);
      return;
    }
  }
  LogLine line;
  line << "warren: gc=collect: no thread or no memory for it: nothing is collected";
  line.write_to(2);
}

void follow_percent() {
  if (on && wanted()) ask();
}

void collect() {
  if (!on) return;
  const uint32_t mine = ask();
  for (uint32_t over; static_cast<int32_t>((over = finished.load(std::memory_order_acquire)) - mine) < 0;) {
    os_calls::futex_wait(os_calls::futex_word(finished), over);
  }
}

}  // namespace warren::inspect::reclaim
