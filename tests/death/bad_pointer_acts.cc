// Acts that hand in a pointer which is not the start of a block: inside one, beside one, or in a part of
// the heap nobody was ever given. Played by misuse_victim.
// Invariant: no act's pointer is the start of a live block, whatever the allocator's layout.
#include <malloc.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

#include "misuse.h"

namespace misuse {
namespace {

constexpr std::uintptr_t kPage = 4096;

void inside_by(const Deed &deed, std::size_t offset) {
  char *before = deed.make_block();
  char *p = deed.make_block();
  char *after = deed.make_block();
  before[0] = after[0] = 'x';
  deed.finish(p + offset);
}
void plus_1(const Deed &deed) { inside_by(deed, 1); }
void plus_8(const Deed &deed) { inside_by(deed, 8); }
void plus_16(const Deed &deed) { inside_by(deed, 16); }
void plus_half(const Deed &deed) { inside_by(deed, deed.size / 2); }
void last_byte(const Deed &deed) { inside_by(deed, deed.size - 1); }
void plus_one_page(const Deed &deed) { inside_by(deed, kPage); }
void plus_two_pages(const Deed &deed) { inside_by(deed, 2 * kPage); }
void plus_one_mebibyte_less_a_page(const Deed &deed) { inside_by(deed, (1U << 20) - kPage); }
void plus_32_mebibytes(const Deed &deed) { inside_by(deed, 32U << 20); }

void inside_freed_by(const Deed &deed, std::size_t offset) {
  char *p = deed.make_block();
  deed.free_rightly(p);
  deed.finish(p + offset);
}
void freed_plus_1(const Deed &deed) { inside_freed_by(deed, 1); }
void freed_plus_8(const Deed &deed) { inside_freed_by(deed, 8); }
void freed_plus_16(const Deed &deed) { inside_freed_by(deed, 16); }
void freed_plus_one_page(const Deed &deed) { inside_freed_by(deed, kPage); }

// An aligned block may be carved out of a bigger one: what lies before it is not a block.
void aligned_block_minus_16(const Deed &deed) {
  auto *p = static_cast<char *>(memalign(4096, deed.size));
  if (p == nullptr) act_failed("memalign");
  deed.finish(p - 16 + 1);
}
void aligned_block_plus_16(const Deed &deed) {
  auto *p = static_cast<char *>(memalign(4096, deed.size));
  if (p == nullptr) act_failed("memalign");
  deed.finish(p + 16);
}

// The blocks of a small crowd in address order, so that an act knows its neighbours.
struct Row {
  static constexpr int kCount = 24;
  char *blocks[kCount];
  char *volatile kept = nullptr;
  explicit Row(const Deed &deed) {
    for (int i = 0; i < kCount; ++i) kept = deed.make_block();  // uses up stray free slots
    for (auto *&block : blocks) block = deed.make_block();
    std::sort(blocks, blocks + kCount);
  }
};

void odd_address_below_the_lowest(const Deed &deed) {
  const Row row(deed);
  deed.finish(row.blocks[0] - 7);
}

void odd_address_above_the_highest(const Deed &deed) {
  const Row row(deed);
  char *top = row.blocks[Row::kCount - 1];
  deed.finish(top + malloc_usable_size(top) + 9);
}

// One slot beyond what was handed out, in the span that serves this size.
void next_slot_never_handed_out(const Deed &deed) {
  const Row row(deed);
  char *top = row.blocks[Row::kCount - 1];
  const auto slot = static_cast<std::size_t>(row.blocks[Row::kCount - 1] - row.blocks[Row::kCount - 2]);
  if (slot > malloc_usable_size(top) + 64) skip_case();  // not neighbours
  deed.finish(top + slot);
}

// The mapping that holds p, together with the mappings that touch it.
struct Extent {
  std::uintptr_t low = 0;
  std::uintptr_t high = 0;
};

Extent extent_around(const void *p) {
  static char text[1 << 16];
  const int fd = open("/proc/self/maps", O_RDONLY);
  std::size_t length = 0;
  for (ssize_t got = 1; got > 0 && length + 1 < sizeof text;) {
    got = read(fd, text + length, sizeof text - 1 - length);
    if (got > 0) length += static_cast<std::size_t>(got);
  }
  close(fd);
  text[length] = 0;
  const auto target = reinterpret_cast<std::uintptr_t>(p);
  Extent current;
  for (char *line = text; *line != 0;) {
    char *end = line;
    const std::uintptr_t low = std::strtoul(end, &end, 16);
    const std::uintptr_t high = std::strtoul(end + 1, &end, 16);
    if (low != current.high) {
      if (current.low <= target && target < current.high) return current;
      current.low = low;
    }
    current.high = high;
    while (*end != 0 && *end != '\n') ++end;
    line = *end == 0 ? end : end + 1;
  }
  if (current.low <= target && target < current.high) return current;
  act_failed("no mapping holds the block");
}

void last_page_of_the_reservation(const Deed &deed) {
  const Extent extent = extent_around(deed.make_block());
  deed.finish(reinterpret_cast<void *>(extent.high - kPage));
}
void last_word_of_the_reservation(const Deed &deed) {
  const Extent extent = extent_around(deed.make_block());
  deed.finish(reinterpret_cast<void *>(extent.high - 16));
}
void first_page_of_the_reservation(const Deed &deed) {
  const Extent extent = extent_around(deed.make_block());
  deed.finish(reinterpret_cast<void *>(extent.low + 1));
}
void just_above_the_reservation(const Deed &deed) {
  const Extent extent = extent_around(deed.make_block());
  deed.finish(reinterpret_cast<void *>(extent.high));
}
void just_below_the_reservation(const Deed &deed) {
  const Extent extent = extent_around(deed.make_block());
  deed.finish(reinterpret_cast<void *>(extent.low - 16));
}
void middle_of_the_reservation(const Deed &deed) {
  const Extent extent = extent_around(deed.make_block());
  const std::uintptr_t middle = extent.low + (extent.high - extent.low) / 2;
  deed.finish(reinterpret_cast<void *>(middle & ~(kPage - 1)));
}

// Further along in the heap than anything was handed out so far.
void beyond_the_highest(const Deed &deed, std::uintptr_t distance, bool in_mapping) {
  const Row row(deed);
  char *top = row.blocks[Row::kCount - 1];
  auto address = reinterpret_cast<std::uintptr_t>(top) + malloc_usable_size(top) + distance;
  address &= ~std::uintptr_t{kPage * 2 - 1};
  if (in_mapping && address >= extent_around(top).high) skip_case();
  deed.finish(reinterpret_cast<void *>(address));
}
void heap_page_never_handed_out(const Deed &deed) { beyond_the_highest(deed, 256U << 10, true); }
void a_gibibyte_above_the_highest(const Deed &deed) { beyond_the_highest(deed, 1U << 30, false); }

}  // namespace

std::span<const ActRow> bad_pointer_rows() {
  using S = ActRow::Spread;
  constexpr unsigned kDead = kDoubleFree | kInvalidPointer;
  static constexpr ActRow rows[] = {
      {"plus_1", plus_1, kInvalidPointer, S::kSizes, 8},
      {"plus_8", plus_8, kInvalidPointer, S::kSizes, 16},
      {"plus_16", plus_16, kInvalidPointer, S::kSizesAndReleasers, 24},
      {"plus_16_from", plus_16, kInvalidPointer, S::kSizesAndOrigins, 24},
      {"plus_half", plus_half, kInvalidPointer, S::kSizes, 8},
      {"last_byte", last_byte, kInvalidPointer, S::kSizes, 8},
      {"plus_one_page", plus_one_page, kInvalidPointer, S::kSizes, 20'000},
      {"plus_two_pages", plus_two_pages, kInvalidPointer, S::kSizes, 20'000},
      {"plus_one_mebibyte_less_a_page", plus_one_mebibyte_less_a_page, kInvalidPointer, S::kSizes, 1U << 20},
      {"plus_32_mebibytes", plus_32_mebibytes, kInvalidPointer, S::kSizes, 64U << 20},
      {"freed_plus_1", freed_plus_1, kDead, S::kSizes, 8},
      {"freed_plus_8", freed_plus_8, kDead, S::kSizes, 16},
      {"freed_plus_16", freed_plus_16, kDead, S::kSizes, 24},
      {"freed_plus_one_page", freed_plus_one_page, kDead, S::kSizes, 20'000},
      {"aligned_block_minus_16", aligned_block_minus_16, kDead, S::kSizes, 8},
      {"aligned_block_plus_16", aligned_block_plus_16, kInvalidPointer, S::kSizes, 24},
      {"odd_address_below_the_lowest", odd_address_below_the_lowest, kAnyCategory, S::kSizes, 8},
      {"odd_address_above_the_highest", odd_address_above_the_highest, kDead, S::kSizes, 8},
      {"next_slot_never_handed_out", next_slot_never_handed_out, kDead, S::kSizes, 8},
      {"last_page_of_the_reservation", last_page_of_the_reservation, kAnyCategory, S::kOnce},
      {"last_word_of_the_reservation", last_word_of_the_reservation, kAnyCategory, S::kOnce},
      {"first_page_of_the_reservation", first_page_of_the_reservation, kAnyCategory, S::kOnce},
      {"just_above_the_reservation", just_above_the_reservation, kForeignPointer, S::kOnce},
      {"just_below_the_reservation", just_below_the_reservation, kForeignPointer, S::kOnce},
      {"middle_of_the_reservation", middle_of_the_reservation, kAnyCategory, S::kOnce},
      {"heap_page_never_handed_out", heap_page_never_handed_out, kDead, S::kSizes, 8},
      {"a_gibibyte_above_the_highest", a_gibibyte_above_the_highest, kAnyCategory, S::kSizes, 8},
  };
  return rows;
}

}  // namespace misuse
