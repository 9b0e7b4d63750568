// See huge_pages.h.
#include "allocator/huge_pages.h"

#include "allocator/base/address.h"
#include "allocator/base/options.h"
#include "allocator/base/os_memory.h"
#include "allocator/hot.h"

#include <atomic>

namespace warren::huge_pages {
namespace {

constexpr uint32_t kUnit = PageCount::covering(size_t{2} << 20).value;

// Arena size from which on it is backed by huge pages. 8 MiB: programs of 20 MiB peak 10% higher, and are not faster.
// 32 MiB: the same peaks as with none, and half of the time that 16 MiB saves programs of 60 MiB is lost.
constexpr PageId kFrom{PageCount::covering(size_t{16} << 20).value};

constexpr uint32_t kUnits = 32768;       // that are watched: of an arena of 64 GiB
constexpr uint32_t kMaxExcepted = 8192;  // the kernel allows a process 65530 mappings

// relaxed, all: a unit's bit is looked at by whoever has its free pages in hands; the count is a bound.
std::atomic<uint64_t> excepted[kUnits / 64];
std::atomic<uint32_t> excepted_count{0};

enum Choice : uint64_t { kAuto, kOn, kOff };

Choice choice() { return static_cast<Choice>(options.thp.load(std::memory_order_relaxed)); }

void *address_of_unit(uint32_t unit) { return at_address<void>(arena.address(PageId{unit * kUnit})); }

void except(uint32_t unit) {
  if (unit >= kUnits || excepted_count.load(std::memory_order_relaxed) >= kMaxExcepted) return;
  const uint64_t bit = uint64_t{1} << (unit % 64);
  if ((excepted[unit / 64].fetch_or(bit, std::memory_order_relaxed) & bit) != 0) return;
  excepted_count.fetch_add(1, std::memory_order_relaxed);
  os_memory::prefer_huge_pages(address_of_unit(unit), PageCount{kUnit}.bytes(), false);
}

void accept(uint32_t unit) {
  if (unit >= kUnits) return;
  const uint64_t bit = uint64_t{1} << (unit % 64);
  if ((excepted[unit / 64].load(std::memory_order_relaxed) & bit) == 0) return;
  excepted[unit / 64].fetch_and(~bit, std::memory_order_relaxed);
  excepted_count.fetch_sub(1, std::memory_order_relaxed);
  if (unit * kUnit >= kFrom.value || choice() == kOn) {
    os_memory::prefer_huge_pages(address_of_unit(unit), PageCount{kUnit}.bytes(), true);
  }
}

}  // namespace

void note_growth(PageId first, PageCount count) {
  const Choice chosen = choice();
  const PageId from = chosen == kAuto && first < kFrom ? kFrom : first;
  if (from >= first + count) return;
  os_memory::prefer_huge_pages(at_address<void>(arena.address(from)), (first + count - from).bytes(), chosen != kOff);
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
