// See huge_pages.h.
#include "allocator/huge_pages.h"

#include "allocator/base/address.h"
#include "allocator/base/annotations.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_memory.h"
#include "allocator/hot.h"

#include <algorithm>
#include <atomic>

namespace warren::huge_pages {
namespace {

constexpr uint32_t kUnit = PageCount::covering(size_t{2} << 20).value;

// Arena size from which on huge pages are tried. Less: where the host has no memory behind them, the 6 ms of a try are much
// for a program of 20 MiB, and its peak is 5 to 10% higher. More: programs of 100 MiB touch all of it in small pages.
constexpr PageId kFrom{PageCount::covering(size_t{64} << 20).value};

// Most nanoseconds that the first touch of a huge page may take. Measured: 180 to 200 us with memory behind it, 1600 to 6000
// without; 512 small pages take 1000.
constexpr uint64_t kFairTouch = 450'000;

constexpr uint32_t kUnits = 32768;       // that are watched: of an arena of 64 GiB
constexpr uint32_t kMaxExcepted = 8192;  // the kernel allows a process 65530 mappings

// relaxed, all: a unit's bit is looked at by whoever has its free pages in hands; the count is a bound.
WARREN_LARGE_TABLE std::atomic<uint64_t> excepted[kUnits / 64];
std::atomic<uint32_t> excepted_count{0};

// From this page on they were asked for at some time; written under the page heap's lock.
std::atomic<uint32_t> asked_from{~uint32_t{0}};

PageId try_from = kFrom;  // guarded by the page heap's lock

void ask_for(PageId from, PageId end) {
  if (from.value < asked_from.load(std::memory_order_relaxed)) asked_from.store(from.value, std::memory_order_relaxed);
  os_memory::prefer_huge_pages(at_address<void>(arena.address(from)), (end - from).bytes(), true);
}

enum Choice : uint64_t { kAuto, kOn, kOff };

Choice choice() { return static_cast<Choice>(options.thp.load(std::memory_order_relaxed)); }

void *address_of_unit(uint32_t unit) { return at_address<void>(arena.address(PageId{unit * kUnit})); }

// Touches the first page of a unit that nobody has touched yet.
bool is_cheap(uint32_t unit) {
  auto *byte = static_cast<volatile uint8_t *>(address_of_unit(unit));
  os_memory::prefer_huge_pages(address_of_unit(unit), PageCount{kUnit}.bytes(), true);
  const uint64_t before = os_calls::now();
  *byte = 0;
  return os_calls::now() - before <= kFairTouch;
}

void except(uint32_t unit) {
  if (unit >= kUnits || excepted_count.load(std::memory_order_relaxed) >= kMaxExcepted) return;
  const uint64_t bit = uint64_t{1} << (unit % 64);
  if ((excepted[unit / 64].fetch_or(bit, std::memory_order_relaxed) & bit) != 0) return;
  excepted_count.fetch_add(1, std::memory_order_relaxed);
  os_memory::prefer_huge_pages(address_of_unit(unit), PageCount{kUnit}.bytes(), false);
}

void accept(uint32_t unit) {
  if (unit >= kUnits || unit * kUnit < asked_from.load(std::memory_order_relaxed)) return;
  const uint64_t bit = uint64_t{1} << (unit % 64);
  if ((excepted[unit / 64].load(std::memory_order_relaxed) & bit) == 0) return;
  excepted[unit / 64].fetch_and(~bit, std::memory_order_relaxed);
  excepted_count.fetch_sub(1, std::memory_order_relaxed);
  os_memory::prefer_huge_pages(address_of_unit(unit), PageCount{kUnit}.bytes(), true);
}

}  // namespace

void note_growth(PageId first, PageCount count) {
  const Choice chosen = choice();
  const PageId end = first + count;
  if (chosen == kOn) return ask_for(first, end);
  if (chosen == kOff) return os_memory::prefer_huge_pages(at_address<void>(arena.address(first)), count.bytes(), false);
  const PageId from{(std::max(first.value, try_from.value) + kUnit - 1) / kUnit * kUnit};
  if (from + PageCount{kUnit} > end) return;
  if (is_cheap(from.value / kUnit)) {
    ask_for(from, end);
  } else {
    try_from = PageId{2 * end.value};
  }
}

void note_release(PageId first, PageCount count) {
  if (choice() == kOff) return;
  const PageId end = first + count;
  if (first.value % kUnit != 0) except(first.value / kUnit);
  if (end.value % kUnit != 0 && (first.value % kUnit == 0 || first.value / kUnit != end.value / kUnit)) except(end.value / kUnit);
}

void note_released_run(PageId first, PageCount count, PageId first_new, PageCount count_new) {
  if (excepted_count.load(std::memory_order_relaxed) == 0) return;
  const uint32_t last_new = (first_new + count_new).value - 1;
  for (uint32_t unit = first_new.value / kUnit; unit <= last_new / kUnit; ++unit) {
    if (unit * kUnit >= first.value && (unit + 1) * kUnit <= (first + count).value) accept(unit);
  }
}

}  // namespace warren::huge_pages
