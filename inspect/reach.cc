// See reach.h.
#include "inspect/reach.h"

#include "allocator/base/address.h"
#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"
#include "gc/mappings.h"
#include "gc/paged_array.h"
#include "inspect/heap_blocks.h"
#include "inspect/maps_file.h"

#include <algorithm>
#include <sys/mman.h>

namespace warren::inspect::reach {
namespace {

using heap_blocks::HeapBlock;

struct Range {
  uintptr_t low, high;
};

struct Region {
  uintptr_t low, high;
  bool reached;
};

constexpr unsigned kMarkShift = 3;  // the least block has 8 bytes
uint64_t *marks = nullptr;          // one bit for each 8 bytes of the arena
gc::PagedArray<Range> pending;      // reached and not searched yet
gc::PagedArray<Region> regions;
gc::PagedArray<size_t> pending_regions;
// Around all of them, in pages: as addresses they would be found where this file's own data is searched.
uintptr_t first_region_page = 0, region_pages = 0;
bool out_of_memory = false;
bool keeps_all_ends = false;

bool set_mark(uintptr_t block) {
  const size_t bit = (block - arena.start) >> kMarkShift;
  uint64_t &word = marks[bit / 64];
  const uint64_t mask = uint64_t{1} << (bit % 64);
  if ((word & mask) != 0) return false;
  word |= mask;
  return true;
}

void reach_region(uintptr_t word) {
  const size_t at = find_mapping(regions, word);
  if (at == regions.size() || regions[at].reached) return;
  regions[at].reached = true;
  out_of_memory |= !pending_regions.push_back(at);
}

void keep(const HeapBlock &block) {
  if (set_mark(block.start)) out_of_memory |= !pending.push_back({block.start, block.start + block.bytes});
}

bool is_empty_array(const HeapBlock &block) {
  constexpr size_t kMostAligned = 16;  // the count lies in a word of its own, or in as many bytes as an element is aligned to
  return block.bytes <= kMostAligned && at_address<const uintptr_t>(block.start + block.bytes)[-1] == 0;
}

void consider_end(uintptr_t word) {
  HeapBlock before;
  if (!heap_blocks::find(word - 1, before) || before.start + before.bytes != word) return;
  if (keeps_all_ends || is_empty_array(before)) keep(before);
}

inline void consider(uintptr_t word) {
  HeapBlock block;
  const bool inside = heap_blocks::find(word, block);
  if (inside) keep(block);
  if (arena.contains(word)) {
    if (!inside || block.start == word) consider_end(word);
  } else if (word / kOsPageSize - first_region_page < region_pages) {
    reach_region(word);
  }
}

void scan_words(uintptr_t low, uintptr_t high) {
  for (uintptr_t at = low; at + sizeof at <= high; at += sizeof at) consider(*at_address<const uintptr_t>(at));
}

// Large blocks and mappings have pages that were never written to, and mappings some that cannot be read.
constexpr size_t kSearchTouchedFrom = size_t{1} << 20;

void scan_by_copy(uintptr_t low, uintptr_t high) {
  alignas(8) WARREN_LARGE_TABLE static char buffer[size_t{64} << 10];
  while (low < high) {
    const size_t wanted = high - low < sizeof buffer ? high - low : sizeof buffer;
    const size_t copied = gc::mappings::copy(buffer, low, wanted);
    scan_words(address_of(buffer), address_of(buffer) + align_down(copied, sizeof(uintptr_t)));
    // What could not be read is passed over by a page.
    low = copied == wanted ? low + copied : align_down(low + copied, kOsPageSize) + kOsPageSize;
  }
}

void drain() {
  for (;;) {
    while (pending.size() != 0) {
      const Range range = pending[pending.size() - 1];
      pending.shrink(pending.size() - 1);
      if (range.high - range.low < kSearchTouchedFrom) {
        scan_words(range.low, range.high);
      } else {
        scan_touched(range.low, range.high);
      }
    }
    if (pending_regions.size() == 0) return;
    const Region region = regions[pending_regions[pending_regions.size() - 1]];
    pending_regions.shrink(pending_regions.size() - 1);
    scan_touched(region.low, region.high);
  }
}

}  // namespace

bool prepare(EndPointers ends) {
  keeps_all_ends = ends == EndPointers::kAll;
  heap_blocks::index();
  const size_t bytes = align_up((arena.grown_bytes() >> kMarkShift) / 8 + 8, kOsPageSize);
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const long mapped = os_calls::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, kFlags);
  if (os_calls::failed(mapped)) return false;
  marks = reinterpret_cast<uint64_t *>(mapped);
  return true;
}

void add_mapping(uintptr_t low, uintptr_t high) {
  if (low < high) out_of_memory |= !regions.push_back({low, high, false});
}

void index_mappings() {
  if (regions.size() == 0) return;
  std::sort(regions.begin(), regions.end(), [](const Region &a, const Region &b) { return a.low < b.low; });
  first_region_page = regions[0].low / kOsPageSize;
  region_pages = regions[regions.size() - 1].high / kOsPageSize + 1 - first_region_page;
}

void scan_range(uintptr_t low, uintptr_t high) {
  scan_words(align_up(low, sizeof(uintptr_t)), high);
  drain();
}

void scan_touched(uintptr_t low, uintptr_t high) {
  gc::mappings::for_each_touched(
      low, high, [](uintptr_t from, uintptr_t to, void *) { scan_by_copy(from, to); }, nullptr);
}

void scan_word(uintptr_t word) {
  consider(word);
  drain();
}

void keep_unsearched(uintptr_t word) {
  HeapBlock block;
  if (heap_blocks::find(word, block)) set_mark(block.start);
}

void finish() { drain(); }

bool is_reached(uintptr_t block) {
  const size_t bit = (block - arena.start) >> kMarkShift;
  return (marks[bit / 64] >> (bit % 64) & 1) != 0;
}

bool is_reached_around(uintptr_t address) {
  HeapBlock block;
  if (heap_blocks::find(address, block)) return is_reached(block.start);
  if (arena.contains(address)) {
    const Span *span = page_map::at(arena.page_of(address));
    return span != nullptr && span->state == SpanState::kCollected;  // all of whose objects are roots
  }
  const size_t at = find_mapping(regions, address);
  return at == regions.size() || regions[at].reached;
}

bool ran_out_of_memory() { return out_of_memory; }

}  // namespace warren::inspect::reach
