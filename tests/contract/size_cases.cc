// Cases 1 to 8: sizes, and calloc. See report.h; run by victim.cc.
// Invariant: each case frees what it allocates.
#include "family.h"
#include "pattern.h"
#include "process_facts.h"
#include "report.h"

#include <climits>

namespace contract {
namespace {

void malloc_zero(Report &report) {
  errno = kErrnoBefore;
  unsigned char *a = bytes(call::malloc(0));
  unsigned char *b = bytes(call::malloc(0));
  report.observe_block("malloc(0)", a, 8);
  report.observe_block("malloc(0) again", b, 8);
  report.expect(a != nullptr && b != nullptr && a != b, "malloc(0) twice: %p %p", static_cast<void *>(a), static_cast<void *>(b));
  report.expect(errno == kErrnoBefore, "errno %d", errno);
  call::free(a);
  call::free(b);
}

// What all blocks of a size have in common: the smallest alignment among some.
size_t alignment_among_blocks(size_t size) {
  void *blocks[64];
  uintptr_t bits = 16;
  for (void *&block : blocks) {
    block = call::malloc(size);
    bits |= reinterpret_cast<uintptr_t>(block);
  }
  for (void *block : blocks) call::free(block);
  return bits & -bits;
}

void alignment_by_size(Report &report) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{9}, size_t{15}, size_t{16}, size_t{17}, size_t{24},
                      size_t{40}, size_t{100}, size_t{1000}, size_t{10000}, size_t{100000}, size_t{1000000}}) {
    const size_t align = alignment_among_blocks(size);
    report.observe("alignment of malloc(%zu)=%zu", size, align);
    report.expect(align >= (size > 8 ? 16u : 8u), "malloc(%zu) is aligned to %zu", size, align);
  }
}

// A request that no machine can serve; what came before is neither lost nor handed out again.
void expect_no_memory(Report &report, const Maker &maker, size_t size) {
  errno = kErrnoBefore;
  void *block = maker.make(size);
  report.expect(block == nullptr && errno == ENOMEM, "%s of %#zx: %p, errno %d", maker.name, size, block, errno);
}

void too_large(Report &report) {
  const size_t resident = resident_bytes(), mappings = mapping_count();
  for (const Maker &maker : kMakers) {
    for (size_t k = 0; k < (size_t{1} << 14); ++k) expect_no_memory(report, maker, SIZE_MAX - k);
    for (size_t size : {size_t{PTRDIFF_MAX}, size_t{PTRDIFF_MAX} + 1, size_t{PTRDIFF_MAX} - 1, size_t{PTRDIFF_MAX} - 4096}) {
      expect_no_memory(report, maker, size);
    }
    errno = kErrnoBefore;
    report.observe_block(maker.name, maker.make(SIZE_MAX), 1);
  }
  report.expect(resident_bytes() < resident + (size_t{16} << 20), "what failed left memory behind: %zu, then %zu", resident, resident_bytes());
  report.expect(mapping_count() < mappings + 100, "what failed left mappings behind: %zu, then %zu", mappings, mapping_count());
}

void too_large_with_every_alignment(Report &report) {
  for (size_t align = 1; align != 0; align *= 2) {
    for (size_t k = 0; k < (size_t{1} << 14); k += 61) {
      errno = kErrnoBefore;
      void *block = call::memalign(align, SIZE_MAX - k);
      report.expect(block == nullptr && errno == ENOMEM, "memalign(%#zx, SIZE_MAX - %zu): %p, errno %d", align, k, block, errno);
      errno = kErrnoBefore;
      block = call::aligned_alloc(align, SIZE_MAX - k);
      report.expect(block == nullptr && errno == ENOMEM, "aligned_alloc(%#zx, SIZE_MAX - %zu): %p, errno %d", align, k, block, errno);
      if (align < 8) continue;
      const int result = call::posix_memalign(&block, align, SIZE_MAX - k);
      report.expect(result == ENOMEM && block == nullptr, "posix_memalign(%#zx, SIZE_MAX - %zu): %d", align, k, result);
    }
  }
}

// The freed block must not come back for a size that wraps to its class.
void too_large_after_small(Report &report) {
  for (const Maker &maker : kMakers) {
    for (size_t small : {size_t{1}, size_t{16}, size_t{100}, size_t{4096}}) {
      void *block = maker.make(small);
      report.expect(block != nullptr && aligned_to(block, small > 8 ? maker.align : 8), "%s of %zu: %p", maker.name, small, block);
      call::free(block);
      for (size_t size : {SIZE_MAX, SIZE_MAX - 7, SIZE_MAX - 15, SIZE_MAX - 4094, SIZE_MAX - 32767}) expect_no_memory(report, maker, size);
    }
  }
}

void high_powers(Report &report) {
  for (const Maker &maker : kMakers) {
    // malloc in full; the smaller half makes the others ask the kernel, so a sample is enough.
    const size_t step = &maker == kMakers ? 1 : 97;
    for (size_t m = 1; m < (size_t{1} << 14); m += step) {
      for (size_t size : {(m << 50) - 1, m << 50, (m << 50) + 1}) expect_no_memory(report, maker, size);
    }
  }
}

// The last so many blocks, all alive: no two may share a byte.
class LiveBlocks {
 public:
  explicit LiveBlocks(Report &report) : report_(report) {}

  void add(size_t size) {
    release(blocks_[next_]);
    unsigned char *start = bytes(call::malloc(size));
    report_.expect(start != nullptr, "malloc(%zu)", size);
    if (start == nullptr) return;
    const size_t usable = call::malloc_usable_size(start);
    report_.expect(usable >= size, "malloc(%zu): usable %zu", size, usable);
    report_.expect(aligned_to(start, size > 8 ? 16 : 8), "malloc(%zu) = %p", size, static_cast<void *>(start));
    for (const Block &other : blocks_) {
      report_.expect(start + usable <= other.start || other.start + other.size <= start, "malloc(%zu) overlaps a block of %zu", size, other.size);
    }
    write_pattern(start, usable, size);
    blocks_[next_] = {start, usable, size};
    next_ = (next_ + 1) % kBlocks;
  }

  void release_all() {
    for (Block &block : blocks_) release(block);
  }

 private:
  static constexpr size_t kBlocks = 32;
  struct Block {
    unsigned char *start;
    size_t size, seed;
  };

  void release(Block &block) {
    if (block.start == nullptr) return;
    report_.expect(call::malloc_usable_size(block.start) == block.size, "malloc(%zu): the usable size changed", block.seed);
    report_.expect(has_pattern(block.start, block.size, block.size, block.seed), "malloc(%zu): overwritten", block.seed);
    call::free(block.start);
    block = {};
  }

  Report &report_;
  Block blocks_[kBlocks] = {};
  size_t next_ = 0;
};

void every_size(Report &report) {
  LiveBlocks live(report);
  for (size_t size = 1; size <= 4096; ++size) live.add(size);
  // Above, the neighbourhood of every class and of every page; the rest in odd steps.
  for (size_t size = 4097; size <= 65536; size += 29) live.add(size);
  for (size_t edge : kClasses) {
    for (size_t size = edge > 2 ? edge - 2 : 1; size <= edge + 2; ++size) live.add(size);
  }
  for (size_t edge = 8192; edge <= 65536; edge += 4096) {
    for (size_t size = edge - 2; size <= edge + 2; ++size) live.add(size);
  }
  live.release_all();
}

void powers_of_two(Report &report) {
  for (unsigned log = 16; log <= 26; ++log) {
    LiveBlocks live(report);
    for (size_t off = 0; off <= 64; off += log < 22 ? 1 : 16) live.add((size_t{1} << log) - 32 + off);
    live.release_all();
  }
}

void calloc_nothing(Report &report) {
  errno = kErrnoBefore;
  void *blocks[] = {call::calloc(0, 100), call::calloc(100, 0), call::calloc(SIZE_MAX, 0), call::calloc(0, SIZE_MAX), call::calloc(0, 0)};
  for (void *&block : blocks) {
    report.observe_block("calloc of nothing", block, 8);
    report.expect(block != nullptr && errno == kErrnoBefore, "calloc of nothing: %p, errno %d", block, errno);
    for (void *const &other : blocks) report.expect(&other == &block || other != block, "the same block twice: %p", block);
  }
  for (void *block : blocks) call::free(block);
}

void calloc_overflow(Report &report) {
  const size_t pairs[][2] = {{size_t{1} << 32, size_t{1} << 32}, {SIZE_MAX, 2}, {2, SIZE_MAX}, {3, SIZE_MAX / 3 + 1},
                             {SIZE_MAX / 3 + 1, 3}, {size_t{LONG_MAX} + 1, 2}, {2, size_t{LONG_MAX} + 1}, {SIZE_MAX, SIZE_MAX},
                             {1, SIZE_MAX}, {SIZE_MAX / 16 + 2, 16}, {size_t{1} << 60, 17}};
  for (const auto &pair : pairs) {
    errno = kErrnoBefore;
    void *block = call::calloc(pair[0], pair[1]);
    report.observe_block("calloc overflow", block, 1);
    report.expect(block == nullptr && errno == ENOMEM, "calloc(%#zx, %#zx): %p, errno %d", pair[0], pair[1], block, errno);
  }
}

void expect_zero(Report &report, size_t size, size_t count) {
  constexpr size_t kMany = 64;
  void *blocks[kMany] = {};
  for (size_t at = 0; at < count; ++at) {
    blocks[at] = call::malloc(size);
    if (blocks[at] != nullptr) memset(blocks[at], 0xff, call::malloc_usable_size(blocks[at]));
  }
  for (size_t at = 0; at < count; ++at) call::free(blocks[at]);
  for (size_t at = 0; at < count; ++at) {
    // Either order of the arguments; a size that does not divide is one element.
    blocks[at] = at % 2 == 0 ? call::calloc(1, size) : size % 4 == 0 ? call::calloc(size / 4, 4) : call::calloc(size, 1);
    report.expect(blocks[at] != nullptr && all_zero(bytes(blocks[at]), size), "a calloc of %zu is not zero", size);
    if (blocks[at] != nullptr) memset(blocks[at], 0xff, size);
  }
  for (size_t at = 0; at < count; ++at) call::free(blocks[at]);
}

void calloc_reuses_dirty(Report &report) {
  for (size_t size : kClasses) {
    for (size_t request : {size - 1, size}) expect_zero(report, request, size <= 4096 ? 64 : 16);
  }
  for (size_t size : kLargeSizes) expect_zero(report, size, 3);
  expect_zero(report, (size_t{8} << 20) + 5, 2);
}

// Memory that went back to the kernel, in part or whole, between its two lives.
void calloc_reuses_purged(Report &report) {
  for (size_t size : {size_t{16}, size_t{48}, size_t{1000}, size_t{5376}, size_t{32768}, size_t{100000}, size_t{4} << 20}) {
    void *blocks[64];
    const size_t count = size > 65536 ? 4 : 64;
    for (size_t at = 0; at < count; ++at) {
      blocks[at] = call::malloc(size);
      if (blocks[at] != nullptr) memset(blocks[at], 0xff, size);
    }
    for (size_t at = 0; at < count; at += 2) call::free(blocks[at]);
    malloc_trim(0);
    for (size_t at = 1; at < count; at += 2) call::free(blocks[at]);
    malloc_trim(0);
    expect_zero(report, size, count);
  }
}

}  // namespace

const Case size_cases[] = {
    {1, "malloc_zero", malloc_zero},
    {1, "alignment_by_size", alignment_by_size},
    {2, "too_large", too_large},
    {2, "too_large_with_every_alignment", too_large_with_every_alignment},
    {3, "too_large_after_small", too_large_after_small},
    {4, "high_powers", high_powers},
    {5, "every_size", every_size},
    {5, "powers_of_two", powers_of_two},
    {6, "calloc_nothing", calloc_nothing},
    {7, "calloc_overflow", calloc_overflow},
    {8, "calloc_reuses_dirty", calloc_reuses_dirty},
    {8, "calloc_reuses_purged", calloc_reuses_purged},
    {0, nullptr, nullptr},
};

}  // namespace contract
