// See scavenger.h.
#include "allocator/scavenger.h"

#include "allocator/base/annotations.h"
#include "allocator/base/layout.h"
#include "allocator/base/log.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_process.h"
#include "allocator/base/os_thread.h"
#include "allocator/page_heap.h"

#include <atomic>

namespace warren::scavenger {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;

// Least time between two looks: a delay of 0 means "soon", not "always".
constexpr uint64_t kLeastTick = 10 * kMillisecond;

// Kept warm: a tenth of what is in use, as in Go, since use that grows and shrinks by so much is common; and a
// little, so that a small program does not come back for its last pages.
constexpr uint64_t kKeptPart = 10;
constexpr uint64_t kKeptPages = PageCount::covering(size_t{512} << 10).value;

// Given back in one go: a huge page. More: the lock is free, but who needs the memory finds it gone for
// longer. Less: more calls.
constexpr PageCount kBatch = PageCount::covering(size_t{2} << 20);

// Owned by whoever runs the policy.
uint64_t process = 0;  // set in set_up() and in a forked child
bool filtered_at_start = false;  // as in a container, whose filter lets threads be made
ProcessorBudget budget(0);
LeastOf looks;
uint64_t refused_at = 0;  // when the kernel last refused a thread

std::atomic<uint64_t> spent{0};  // relaxed: statistics
WARREN_SHOW_ADDRESS("scavenger.ns", &spent);

// The option may change at any time: an hour's delay is slept in parts of this.
constexpr uint64_t kLongestSleep = 500 * kMillisecond;

// So many refusals (locked pages) in one look, and the rest is taken to be refused as well.
constexpr unsigned kMostRefusals = 8;

uint64_t delay() { return options.scavenge_delay.load(std::memory_order_relaxed); }

// Nanoseconds between two looks; `delay` is not kNoLimit.
uint64_t tick(uint64_t delay) {
  const uint64_t part = delay * kMillisecond / LeastOf::kLooks;
  return part < kLeastTick ? kLeastTick : part;
}

// False: the option says off, or the thread no longer has the privileges of its process.
bool sleep_until_next_look() {
  const uint64_t began = os_calls::now();
  for (;;) {
    const uint64_t now_delay = delay();
    if (now_delay == kNoLimit || os_thread::privileges_differ()) return false;
    const uint64_t slept = os_calls::now() - began;
    const uint64_t wanted = tick(now_delay);
    if (slept >= wanted) return true;
    const uint64_t rest = wanted - slept;
    os_calls::sleep(rest < kLongestSleep ? rest : kLongestSleep);
  }
}

// The line of the option scavtrace, Go's: what went back by this policy and at the program's request since the last line, what of the
// address space is given back now, and how much of the rest is in use.
//
//   scav 1024 KiB work (bg), 0 KiB work (eager), 5104 KiB now, 82% util
std::atomic<uint64_t> requested_bytes{0};  // relaxed: a sum

void trace(uint64_t pages) {
  if (options.scavtrace.load(std::memory_order_relaxed) == 0) return;
  const uint64_t eager = requested_bytes.exchange(0, std::memory_order_relaxed);
  if (pages == 0 && eager == 0) return;
  const page_heap::Stats heap = page_heap::stats();
  const uint64_t backed = heap.grown_pages - heap.released_pages, used = heap.grown_pages - heap.free_pages;
  LogLine line;
  line << "scav " << (pages * kPageSize >> 10) << " KiB work (bg), " << (eager >> 10) << " KiB work (eager), "
       << (heap.released_pages * kPageSize >> 10) << " KiB now, " << (backed == 0 ? 0 : used * 100 / backed) << "% util";
  line.write_to(2);
}

enum class Outcome : uint8_t { kDone, kOutOfBudget, kRefused };

Outcome release(uint64_t pages, uint64_t now, uint64_t *done) {
  unsigned refusals = 0;
  while (pages != 0) {
    if (budget.wait(now) != 0) return Outcome::kOutOfBudget;
    const uint64_t before = os_calls::thread_time();
    const PageCount released = page_heap::scavenge(pages < kBatch.value ? PageCount{static_cast<uint32_t>(pages)} : kBatch);
    const uint64_t cost = os_calls::thread_time() - before;
    budget.spend(cost);
    spent.store(budget.spent(), std::memory_order_relaxed);
    now += cost;
    if (released.value == 0 && ++refusals == kMostRefusals) return Outcome::kRefused;
    *done += released.value;
    pages -= released.value < pages ? released.value : pages;
  }
  return Outcome::kDone;
}

// One look; what stayed free for a whole delay goes back.
Outcome look(uint64_t now) {
  const page_heap::WarmMemory warm = page_heap::take_warm_memory();
  looks.note(warm.least_pages);
  uint64_t pages = excess(looks.least(), warm.used_pages);
  if (warm.pages_over_limit > pages) pages = warm.pages_over_limit < warm.pages ? warm.pages_over_limit : warm.pages;
  uint64_t done = 0;
  const Outcome outcome = release(pages, now, &done);
  if (done != 0) trace(done);
  return outcome;
}

// The thread.
void run() {
  looks = LeastOf{};
  while (sleep_until_next_look()) {
    const Outcome outcome = look(os_calls::now());
    if (outcome == Outcome::kRefused) return page_heap::arm_later();
    if (outcome == Outcome::kOutOfBudget) os_calls::sleep(budget.wait(os_calls::now()));
    if (page_heap::arm_when_little_is_warm(kKeptPages, kKeptPart)) return;
  }
  page_heap::arm();
}

}  // namespace

uint64_t excess(uint64_t least, uint64_t used_pages) {
  const uint64_t kept = kKeptPages + used_pages / kKeptPart;
  return least > kept ? least - kept : 0;
}

WARREN_AT_START void set_up() {
  process = os_process::id();
  filtered_at_start = os_calls::filtered();
  budget = ProcessorBudget(os_calls::now());
}

void wake() {
  if (delay() != kNoLimit && os_process::id() == process) {
    // No thread to be had (a limit, a sandbox): the calls that free do the work, and try again now and then.
    const uint64_t now = os_calls::now();
    if (refused_at != 0 && now - refused_at < kLongestSleep) return page_heap::arm();
    // A program that has filtered its own system calls since it began may have made clone a capital offence.
    if (os_calls::filtered() == filtered_at_start && os_thread::start(run)) return;
    refused_at = now;
    if (look(now) != Outcome::kRefused) return page_heap::arm();
  }
  page_heap::arm_later();
}

void reset_in_child() {
  os_thread::forget_in_child();
  process = os_process::id();
  budget = ProcessorBudget(os_calls::now());
  looks = LeastOf{};
  spent.store(0, std::memory_order_relaxed);
}

void note_released(uint64_t bytes) {
  requested_bytes.fetch_add(bytes, std::memory_order_relaxed);
  trace(0);
}

uint64_t processor_time() { return spent.load(std::memory_order_relaxed); }

}  // namespace warren::scavenger
