// Claiming and growing the address space. See arena.h.
#include "allocator/arena.h"

#include "allocator/base/os_memory.h"
#include "allocator/base/os_process.h"
#include "allocator/hot.h"

#include <algorithm>
#include <atomic>

namespace warren {
namespace arena_growth {
namespace {

using os_memory::PrepareResult;

// Where user space is empty on x86-64: above where the kernel places mappings bottom-up under an unlimited stack
// (from 0x2aaa…) and above Java's coloured heaps (up to 0x2000…), below PIE programs (0x55…) and the
// kernel's usual placements (0x7f…). Valgrind and small machines have nothing above 16 TiB, so a
// second window lies lower. Guarded, like all below, by the page heap's lock.
struct Window {
  uintptr_t lowest, end;
};
constexpr Window kWindows[] = {{0x3000'0000'0000, 0x5000'0000'0000}, {0x0100'0000'0000, 0x0f00'0000'0000}};
constexpr size_t kHugePage = size_t{2} << 20;

// A part of the claim that grows in step with the arena: `bytes` of it for each step.
struct Part {
  size_t bytes_per_step;
  uintptr_t start;
  size_t grown_steps;
};

constexpr size_t kPages = kStepSize >> kPageShift;
enum : unsigned { kPageMap, kFreeBits, kBitmap, kFine, kCoarse, kClassHints, kPartCount };
Part parts[kPartCount] = {
    {kPages * sizeof(Span *), 0, 0},
    {kPages * kFreeBitsBytesPerPage, 0, 0},
    {kPages * kBitmapBytesPerPage, 0, 0},
    {kStepSize >> kOctetShift, 0, 0},
    {kStepSize >> kCoarseShift, 0, 0},
    {kPages, 0, 0},  // less than an OS page
};
// Outside of the array, since it grows by itself.
constexpr size_t kTagBytesPerStep = kPages * sizeof(uint16_t);
uintptr_t tags_start = 0;
size_t tag_bytes = 0;  // mapped

constexpr unsigned kMetadataShift = 5;  // of n bytes n / 32: n / 128 for a span to each page, the rest for caches

size_t step_count = 0;       // that the claim has room for
size_t grown_steps = 0;      // that are mapped, or holes
bool claimed = false;        // set_up got as far as an address range
bool exclusive = false;      // a PROT_NONE reservation stands behind the claim
Range metadata{};

size_t layout(uintptr_t base, size_t arena_bytes) {
  uintptr_t next = base;
  const auto take = [&next](size_t bytes) {
    const uintptr_t taken = next;
    next += align_up(bytes, kHugePage);
    return taken;
  };
  const size_t steps = arena_bytes / kStepSize;
  metadata = {take(arena_bytes >> kMetadataShift), arena_bytes >> kMetadataShift, exclusive};
  for (Part &part : parts) part.start = take(steps * part.bytes_per_step);
  tags_start = take(steps * kTagBytesPerStep);
  arena.start = take(arena_bytes);
  step_count = steps;
  return next - base;
}

// True when the start of the claim and of the arena are free. (The rest is found out while growing.)
bool probe() {
  return os_memory::prepare(at_address<void>(metadata.start), kOsPageSize, exclusive) == PrepareResult::kOk;
}

bool claim_in_window(const Window &window, size_t arena_bytes, uint64_t seed) {
  const size_t total = layout(0, arena_bytes);
  if (total > window.end - window.lowest) return false;
  const size_t places = (window.end - window.lowest - total) / kHugePage;
  for (uint64_t attempt = 0; attempt < 4; ++attempt) {
    const size_t place = places == 0 ? 0 : (seed + attempt * 0x9e3779b97f4a7c15) % places;
    layout(window.lowest + place * kHugePage, arena_bytes);
    if (probe()) return true;
  }
  return false;
}

bool claim(size_t arena_bytes, uint64_t seed) {
  exclusive = false;
  for (const Window &window : kWindows) {
    if (claim_in_window(window, arena_bytes, seed)) return true;
  }
  exclusive = true;
  const size_t total = layout(0, arena_bytes);
  void *base = os_memory::reserve(total, kHugePage);
  if (base == nullptr) return false;
  layout(address_of(base), arena_bytes);
  if (probe()) return true;
  os_memory::unreserve(base, total);
  return false;
}

bool claim_largest(size_t wanted_bytes) {
  // When everything was refused the last time, one page is asked for first: the attempts below are 127 system calls, and each
  // malloc would make them anew.
  static bool refused = false;
  if (refused) {
    void *page = os_memory::reserve(kOsPageSize, kOsPageSize);
    if (page == nullptr) return false;
    os_memory::unreserve(page, kOsPageSize);
  }
  refused = true;
  const uint64_t seed = os_process::layout_seed();
  for (size_t bytes = align_down(wanted_bytes, kStepSize); bytes >= kMinArenaSize; bytes = align_down(bytes / 2, kStepSize)) {
    if (claim(bytes, seed)) return true;
  }
  return false;
}

PrepareResult prepare_parts(size_t steps) {
  for (Part &part : parts) {
    if (part.grown_steps >= steps) continue;
    const size_t from = align_up(part.grown_steps * part.bytes_per_step, kOsPageSize);
    const size_t to = align_up(steps * part.bytes_per_step, kOsPageSize);
    if (from != to) {
      void *at = at_address<void>(part.start + from);
      const PrepareResult result = os_memory::prepare(at, to - from, exclusive);
      if (result != PrepareResult::kOk) return result;
      // Of its rows most are never touched. (Where the kernel gives huge pages always, all were there: heaps of small blocks 6% larger.)
      if (&part == &parts[kFine]) os_memory::prefer_huge_pages(at, to - from, false);
    }
    part.grown_steps = steps;
  }
  return PrepareResult::kOk;
}

PageId page_at_step(size_t step) { return PageId{static_cast<uint32_t>(step << (kStepShift - kPageShift))}; }

void publish(size_t steps) {
  grown_steps = steps;
  __atomic_store_n(&arena.octet_count, steps << (kStepShift - kOctetShift), __ATOMIC_RELEASE);
}

}  // namespace

bool set_up(size_t wanted_bytes) {
  if (!claimed && !claim_largest(wanted_bytes)) return false;
  claimed = true;
  // Octet 0 can only be marked once its planes exist, and only then may the fast path look.
  if (prepare_parts(1) != PrepareResult::kOk) return false;
  arena.page_map = at_address<Span *>(parts[kPageMap].start);
  arena.free_bitmap = at_address<uint8_t>(parts[kFreeBits].start);
  arena.bitmap = at_address<uint8_t>(parts[kBitmap].start);
  arena.fine = at_address<uint8_t>(parts[kFine].start);
  arena.coarse = at_address<uint8_t>(parts[kCoarse].start);
  arena.class_hints = at_address<uint8_t>(parts[kClassHints].start);
  arena.fine[0] = arena.coarse[0] = kSentinelMark;
  arena.fine_from_zero = at_address<uint8_t>(parts[kFine].start - (arena.start >> kOctetShift));
  hot.empty.fine_from_zero = arena.fine_from_zero;
  arena.coarse_from_zero = at_address<uint8_t>(parts[kCoarse].start - (arena.start >> kCoarseShift));
  return true;
}

Grown grow(PageCount pages, bool (*prepare_more)(PageId end)) {
  Grown grown{};
  const size_t first_page = grown_steps == 0 ? 1 : 0;  // page 0 is never handed out
  const size_t steps = (pages.bytes() + first_page * kPageSize + kStepSize - 1) / kStepSize;
  size_t at = grown_steps;
  for (size_t skip = 1;; skip *= 2) {
    if (steps > step_count || at > step_count - steps) {
      grown.result = GrowResult::kExhausted;
      return grown;
    }
    void *start = at_address<void>(arena.start + at * kStepSize);
    // First what is by far the most: what is refused here, however large, costs nothing.
    const PrepareResult result = os_memory::prepare(start, steps * kStepSize, exclusive);
    if (result == PrepareResult::kNoMemory) break;
    if (result == PrepareResult::kOk) {
      if (prepare_parts(at + steps) != PrepareResult::kOk || (prepare_more != nullptr && !prepare_more(page_at_step(at + steps)))) {
        os_memory::unprepare(start, steps * kStepSize, exclusive);
        break;
      }
      grown.result = GrowResult::kGrown;
      grown.first = PageId{page_at_step(at).value + static_cast<uint32_t>(at == 0 ? 1 : 0)};
      grown.count = page_at_step(at + steps) - grown.first;
      grown.hole_first = page_at_step(grown_steps);
      grown.hole_count = page_at_step(at) - page_at_step(grown_steps);
      publish(at + steps);
      return grown;
    }
    at += skip;  // somebody's mapping: look behind it, further away each time
  }
  grown.result = GrowResult::kNoMemory;
  return grown;
}

namespace {

std::atomic<size_t> excepted_steps{0};  // relaxed: whoever finds it behind does the same once more

// khugepaged would fill the holes again where huge pages are used always.
void except_maps_from_huge_pages() {
  const size_t steps = __atomic_load_n(&arena.octet_count, __ATOMIC_ACQUIRE) >> (kStepShift - kOctetShift);
  const size_t from = excepted_steps.load(std::memory_order_relaxed);
  if (from >= steps) return;
  excepted_steps.store(steps, std::memory_order_relaxed);
  for (const Part &part : parts) {
    const size_t start = align_down(from * part.bytes_per_step, kOsPageSize);
    const size_t end = align_up(steps * part.bytes_per_step, kOsPageSize);
    os_memory::prefer_huge_pages(at_address<void>(part.start + start), end - start, false);
  }
}

// Whole OS pages. Refused: as before, and zero.
void release_within(uintptr_t start, size_t bytes) {
  const uintptr_t from = align_up(start, kOsPageSize), to = align_down(start + bytes, kOsPageSize);
  if (from < to) os_memory::release(at_address<void>(from), to - from);
}

// Pages that share a region have bytes in each of its rows.
void release_rows(size_t first, size_t count) {
  constexpr size_t kBytesPerPage = kRowBytes / kRegionPages;
  const uintptr_t region = parts[kFine].start + (first / kRegionPages * kRowBytes << kRowsLog);
  for (size_t row = 0; row < size_t{1} << kRowsLog; ++row) {
    release_within(region + row * kRowBytes + first % kRegionPages * kBytesPerPage, count * kBytesPerPage);
  }
}

void release_fine(size_t first, size_t count) {
  constexpr size_t kBytesPerPage = kPageSize >> kOctetShift;
  while (count != 0) {
    const size_t in_region = first % kRegionPages;
    size_t part = align_down(count, kRegionPages);
    if (in_region == 0 && part != 0) {
      release_within(parts[kFine].start + first * kBytesPerPage, part * kBytesPerPage);
    } else {
      part = std::min(count, kRegionPages - in_region);
      release_rows(first, part);
    }
    first += part;
    count -= part;
  }
}

}  // namespace

void release_maps(PageId first, PageCount count) {
  except_maps_from_huge_pages();
  // All but the page map: free runs are found by it, and it is small.
  for (const unsigned number : {kFreeBits, kBitmap, kCoarse, kClassHints}) {
    const size_t bytes_per_page = parts[number].bytes_per_step / kPages;
    release_within(parts[number].start + first.value * bytes_per_page, count.value * bytes_per_page);
  }
  release_fine(first.value, count.value);
}

PageCount prepare_tags(PageId end) {
  // More: counts against limits unused. Less: a system call for every few pages of growth.
  constexpr size_t kTagStep = size_t{64} << 10;
  const size_t needed = align_up(size_t{end.value} * sizeof(uint16_t), kOsPageSize);
  if (needed > tag_bytes) {
    const size_t limit = align_up(step_count * kTagBytesPerStep, kOsPageSize);
    size_t wanted = align_up(needed, kTagStep);
    if (wanted > limit) wanted = limit;
    void *at = at_address<void>(tags_start + tag_bytes);
    if (os_memory::prepare(at, wanted - tag_bytes, exclusive) == PrepareResult::kOk) {
      tag_bytes = wanted;
    } else if (os_memory::prepare(at, needed - tag_bytes, exclusive) == PrepareResult::kOk) {
      tag_bytes = needed;
    }
  }
  return PageCount{static_cast<uint32_t>(tag_bytes / sizeof(uint16_t))};
}

uint16_t *tags() { return at_address<uint16_t>(tags_start); }

Range metadata_range() { return metadata; }

size_t map_bytes() {
  size_t bytes = 0;
  for (const Part &part : parts) bytes += align_up(part.grown_steps * part.bytes_per_step, kOsPageSize);
  return bytes + tag_bytes;
}

}  // namespace arena_growth
}  // namespace warren
