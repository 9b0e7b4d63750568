// Cases 16 to 28: alignment. See report.h; run by victim.cc.
// Invariant: each case frees what it allocates.
#include "family.h"
#include "pattern.h"
#include "process_facts.h"
#include "report.h"

namespace contract {
namespace {

void posix_memalign_bad_alignment(Report &report) {
  for (size_t align : {size_t{0}, size_t{1}, size_t{2}, size_t{4}, size_t{12}, size_t{24}, size_t{4097}, (size_t{1} << 63) + 8, SIZE_MAX}) {
    void *const untouched = &report;
    void *out = untouched;
    errno = kErrnoBefore;
    const int result = call::posix_memalign(&out, align, 100);
    const char *kept = out == untouched ? "kept" : "written";
    report.observe("posix_memalign(%zu)=%d errno %d %s", align, result, errno, kept);
    report.expect(result == EINVAL && errno == kErrnoBefore && out == untouched, "posix_memalign(%zu): %d, errno %d, %s", align, result, errno, kept);
  }
}

// All functions that take an alignment promise the same for a good one.
struct AlignedMaker {
  const char *name;
  void *(*make)(size_t align, size_t size);
};

constexpr AlignedMaker kAlignedMakers[] = {
    {"posix_memalign",
     [](size_t align, size_t size) {
       void *out = nullptr;
       const int result = call::posix_memalign(&out, align, size);
       return result == 0 ? out : nullptr;
     }},
    {"aligned_alloc", [](size_t align, size_t size) { return call::aligned_alloc(align, size); }},
    {"memalign", [](size_t align, size_t size) { return call::memalign(align, size); }},
};

void every_alignment(Report &report) {
  for (const AlignedMaker &maker : kAlignedMakers) {
    for (size_t align = 8; align <= size_t{1} << 23; align *= 2) {
      for (size_t size : {size_t{0}, size_t{1}, size_t{8}, size_t{100}, size_t{200000}, align / 2, align - 1, align, align + 1,
                          2 * align - 1, 3 * align}) {
        errno = kErrnoBefore;
        void *block = maker.make(align, size);
        report.expect(block != nullptr && aligned_to(block, align) && errno == kErrnoBefore, "%s(%zu, %zu): %p, errno %d", maker.name, align, size, block, errno);
        if (block == nullptr) continue;
        report.expect(call::malloc_usable_size(block) >= size, "usable size of %s(%zu, %zu)", maker.name, align, size);
        write_pattern(bytes(block), size, align);
        call::free(block);
      }
    }
  }
}

void posix_memalign_no_memory(Report &report) {
  const size_t pairs[][2] = {{4096, SIZE_MAX}, {size_t{1} << 63, 8}, {size_t{1} << 62, 3 * (size_t{1} << 62)},
                             {16, SIZE_MAX - 15}, {8, size_t{PTRDIFF_MAX} + 1}, {4096, PTRDIFF_MAX}};
  for (const auto &[align, size] : pairs) {
    void *const untouched = &report;
    void *out = untouched;
    errno = kErrnoBefore;
    const int result = call::posix_memalign(&out, align, size);
    report.observe("posix_memalign without memory=%d %s", result, out == untouched ? "kept" : "written");
    report.expect(result == ENOMEM && out == untouched, "posix_memalign(%#zx, %#zx): %d", align, size, result);
  }
}

void memalign_rounds_up(Report &report) {
  for (size_t align : {size_t{0}, size_t{1}, size_t{3}, size_t{15}, size_t{17}, size_t{24}, size_t{100}, size_t{5000}, size_t{4097}}) {
    size_t rounded = 16;
    while (rounded < align) rounded *= 2;
    errno = kErrnoBefore;
    void *block = call::memalign(align, 100);
    report.observe_block("memalign of any alignment", block, rounded);
    report.expect(block != nullptr && aligned_to(block, rounded) && errno == kErrnoBefore, "memalign(%zu) = %p, errno %d", align, block, errno);
    call::free(block);
  }
}

void memalign_impossible(Report &report) {
  const struct {
    size_t align, size;
    int error;
  } rows[] = {{size_t{1} << 63, 10, ENOMEM}, {(size_t{1} << 63) + 1, 10, EINVAL}, {SIZE_MAX, kOsPage, EINVAL},
              {SIZE_MAX - 4095, 1, EINVAL}, {size_t{1} << 62, 10, ENOMEM}, {(size_t{1} << 62) + 1, 10, ENOMEM}};
  for (const auto &row : rows) {
    errno = kErrnoBefore;
    void *block = call::memalign(row.align, row.size);
    report.observe_block("memalign impossible", block, 1);
    report.expect(block == nullptr && errno == row.error, "memalign(%#zx, %zu) = %p, errno %d", row.align, row.size, block, errno);
  }
}

void memalign_wraps(Report &report) {
  for (size_t align = 1; align <= size_t{1} << 62; align *= 2) {
    for (size_t size : {SIZE_MAX - align, align == 1 ? SIZE_MAX : 1 - align, SIZE_MAX - 2 * align, size_t{0} - kOsPage, size_t{0} - align / 2 - 1}) {
      errno = kErrnoBefore;
      void *block = call::memalign(align, size);
      report.expect(block == nullptr && errno == ENOMEM, "memalign(%zu, %#zx) = %p, errno %d", align, size, block, errno);
    }
  }
}

void memalign_small(Report &report) {
  const size_t pairs[][2] = {{8, 0}, {8, 1}, {0x100, 10}, {0x100, 0}, {16, 0}, {16, 1}, {16, 8}, {32, 48}, {32, 80}, {64, 144}, {4096, 0}};
  for (const auto &[align, size] : pairs) {
    errno = kErrnoBefore;
    void *block = call::memalign(align, size);
    report.observe_block("memalign small", block, align);
    report.expect(block != nullptr && aligned_to(block, align) && errno == kErrnoBefore, "memalign(%zu, %zu) = %p, errno %d", align, size, block, errno);
    call::free(block);
  }
}

void aligned_alloc_bad_alignment(Report &report) {
  for (size_t align : {size_t{0}, size_t{3}, size_t{24}, size_t{4097}}) {
    errno = kErrnoBefore;
    void *block = call::aligned_alloc(align, 10);
    report.observe("aligned_alloc(%zu)=%s errno %d", align, block != nullptr ? "block" : "NULL", errno);
    call::free(block);
  }
}

void aligned_alloc_odd_size(Report &report) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{10}, size_t{65}, size_t{100000}}) {
    errno = kErrnoBefore;
    void *block = call::aligned_alloc(64, size);
    report.observe_block("aligned_alloc(64) of an odd size", block, 64);
    report.expect(block != nullptr && aligned_to(block, 64) && errno == kErrnoBefore, "aligned_alloc(64, %zu) = %p, errno %d", size, block, errno);
    call::free(block);
  }
}

void aligned_alloc_huge_alignment(Report &report) {
  for (size_t align : {SIZE_MAX, SIZE_MAX - 7, (size_t{1} << 63) + 1}) {
    errno = kErrnoBefore;
    void *block = call::aligned_alloc(align, 8);
    report.observe_block("aligned_alloc huge alignment", block, 1);
    report.expect(block == nullptr && errno == EINVAL, "aligned_alloc(%#zx, 8) = %p, errno %d", align, block, errno);
  }
  errno = kErrnoBefore;
  void *block = call::aligned_alloc(size_t{1} << 63, 8);
  report.observe_block("aligned_alloc(2^63)", block, 1);
  report.expect(block == nullptr && errno == ENOMEM, "aligned_alloc(2^63, 8) = %p, errno %d", block, errno);
}

void alignment_of_a_gibibyte(Report &report) {
  const size_t before = resident_bytes();
  const auto check = [&](const char *name, unsigned log, void *block) {
    report.expect(block != nullptr ? aligned_to(block, size_t{1} << log) : errno == ENOMEM, "%s of 2^%u = %p, errno %d", name, log, block, errno);
    if (block != nullptr) write_pattern(bytes(block), 10, log);
    report.expect(resident_bytes() < before + (size_t{64} << 20), "%s of 2^%u committed its slack: %zu, then %zu", name, log, before, resident_bytes());
    call::free(block);
  };
  for (unsigned log : {24u, 27u, 30u, 32u, 36u, 40u}) {
    const size_t align = size_t{1} << log;
    errno = kErrnoBefore;
    check("aligned_alloc", log, call::aligned_alloc(align, 10));
    errno = kErrnoBefore;
    check("memalign", log, call::memalign(align, 10));
    void *block = nullptr;
    errno = call::posix_memalign(&block, align, 10);
    check("posix_memalign", log, block);
  }
}

// All ways in which an aligned block can end; what stands beside it stays as it is.
void free_aligned_by_any_means(Report &report) {
  auto *free_sized = call::find_free_sized();
  auto *free_aligned_sized = call::find_free_aligned_sized();
  for (size_t align = 8; align <= 65536; align *= 2) {
    for (size_t size : {size_t{1}, size_t{8}, size_t{10}, size_t{33}, size_t{48}, size_t{80}, size_t{100}, size_t{144}, size_t{1000}, size_t{1056},
                        size_t{5000}, size_t{20000}, size_t{32768}, size_t{100000}}) {
      constexpr size_t kBlocks = 6;
      unsigned char *blocks[kBlocks];
      for (size_t at = 0; at < kBlocks; ++at) {
        blocks[at] = bytes(call::aligned_alloc(align, size));
        report.expect(blocks[at] != nullptr && aligned_to(blocks[at], align), "aligned_alloc(%zu, %zu)", align, size);
        if (blocks[at] == nullptr) return;
        report.expect(call::malloc_usable_size(blocks[at]) >= size, "usable size of aligned_alloc(%zu, %zu)", align, size);
        write_pattern(blocks[at], size, at);
      }
      errno = kErrnoBefore;
      call::free(blocks[0]);
      if (free_sized != nullptr) free_sized(blocks[1], size);
      else call::free(blocks[1]);
      if (free_aligned_sized != nullptr) free_aligned_sized(blocks[2], align, size);
      else call::free(blocks[2]);
      for (size_t at = 3; at < kBlocks; ++at) report.expect(has_pattern(blocks[at], size, size, at), "aligned %zu, %zu: overwritten by free", align, size);
      blocks[3] = bytes(call::realloc(blocks[3], 2 * size));
      report.expect(blocks[3] != nullptr && has_pattern(blocks[3], size, size, 3), "growing aligned %zu, %zu", align, size);
      blocks[4] = bytes(call::realloc(blocks[4], size / 2 + 1));
      report.expect(blocks[4] != nullptr && has_pattern(blocks[4], size, size / 2 + 1, 4), "shrinking aligned %zu, %zu", align, size);
      report.expect(call::realloc(blocks[5], 0) == nullptr, "realloc(aligned %zu, 0)", align);
      call::free(blocks[3]);
      call::free(blocks[4]);
      report.expect(errno == kErrnoBefore, "aligned %zu, %zu: errno %d", align, size, errno);
    }
  }
}

void valloc_and_pvalloc(Report &report) {
  for (size_t size : {size_t{0}, size_t{1}, kOsPage - 1, kOsPage, kOsPage + 1, size_t{100000}}) {
    errno = kErrnoBefore;
    void *block = call::valloc(size);
    report.observe_block("valloc", block, kOsPage);
    report.expect(block != nullptr && aligned_to(block, kOsPage) && errno == kErrnoBefore, "valloc(%zu) = %p, errno %d", size, block, errno);
    void *pages = call::pvalloc(size);
    report.observe_block("pvalloc", pages, kOsPage);
    report.expect(pages != nullptr && aligned_to(pages, kOsPage) && errno == kErrnoBefore, "pvalloc(%zu) = %p, errno %d", size, pages, errno);
    const size_t whole = (size + kOsPage - 1) / kOsPage * kOsPage;
    report.expect(call::malloc_usable_size(pages) >= whole, "usable size of pvalloc(%zu): %zu", size, call::malloc_usable_size(pages));
    write_pattern(bytes(pages), whole, size);
    call::free(block);
    call::free(pages);
  }
  for (size_t size : {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 4094, SIZE_MAX - 4095, SIZE_MAX - 8191, size_t{PTRDIFF_MAX}}) {
    errno = kErrnoBefore;
    void *block = call::valloc(size);
    report.observe_block("valloc huge", block, 1);
    report.expect(block == nullptr && errno == ENOMEM, "valloc(%#zx) = %p, errno %d", size, block, errno);
    errno = kErrnoBefore;
    block = call::pvalloc(size);
    report.observe_block("pvalloc huge", block, 1);
    report.expect(block == nullptr && errno == ENOMEM, "pvalloc(%#zx) = %p, errno %d", size, block, errno);
  }
}

}  // namespace

const Case alignment_cases[] = {
    {16, "posix_memalign_bad_alignment", posix_memalign_bad_alignment},
    {17, "every_alignment", every_alignment},
    {18, "posix_memalign_no_memory", posix_memalign_no_memory},
    {19, "memalign_rounds_up", memalign_rounds_up},
    {20, "memalign_impossible", memalign_impossible},
    {21, "memalign_wraps", memalign_wraps},
    {22, "memalign_small", memalign_small},
    {23, "aligned_alloc_bad_alignment", aligned_alloc_bad_alignment},
    {24, "aligned_alloc_odd_size", aligned_alloc_odd_size},
    {25, "aligned_alloc_huge_alignment", aligned_alloc_huge_alignment},
    {26, "alignment_of_a_gibibyte", alignment_of_a_gibibyte},
    {27, "free_aligned_by_any_means", free_aligned_by_any_means},
    {28, "valloc_and_pvalloc", valloc_and_pvalloc},
    {0, nullptr, nullptr},
};

}  // namespace contract
