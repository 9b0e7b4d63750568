// Cases 9 to 15: realloc and reallocarray. See report.h; run by victim.cc.
// Invariant: each case frees what it allocates.
#include "family.h"
#include "pattern.h"
#include "process_facts.h"
#include "report.h"

#include <utility>

namespace contract {
namespace {

void realloc_null_zero(Report &report) {
  errno = kErrnoBefore;
  void *block = call::realloc(nullptr, 0);
  report.observe_block("realloc(NULL, 0)", block, 8);
  report.expect(block != nullptr && errno == kErrnoBefore, "realloc(NULL, 0) = %p, errno %d", block, errno);
  call::free(block);
}

void realloc_to_zero(Report &report) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{100}, size_t{5000}, size_t{1} << 20}) {
    void *block = call::malloc(size);
    errno = kErrnoBefore;
    void *result = call::realloc(block, 0);
    report.observe_block("realloc(p, 0)", result, 1);
    report.expect(result == nullptr && errno == kErrnoBefore, "realloc(p, 0) = %p, errno %d", result, errno);
  }
}

// That realloc(p, 0) frees shows only in that the memory comes back.
void realloc_to_zero_frees(Report &report) {
  const size_t resident = resident_bytes();
  for (int i = 0; i < 64; ++i) {
    void *block = call::malloc(size_t{4} << 20);
    report.expect(block != nullptr, "malloc in round %d", i);
    if (block == nullptr) return;
    memset(block, 1, size_t{4} << 20);
    report.expect(call::realloc(block, 0) == nullptr, "realloc(p, 0) is not NULL");
  }
  report.expect(resident_bytes() < resident + (size_t{64} << 20), "64 blocks of 4 MiB: resident %zu, then %zu", resident, resident_bytes());
}

void realloc_too_large(Report &report) {
  for (size_t size : {size_t{1}, size_t{16}, size_t{100}, size_t{5000}, size_t{1} << 20}) {
    unsigned char *block = bytes(call::malloc(size));
    write_pattern(block, size, size);
    for (size_t wanted : {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 100, SIZE_MAX - 4096, SIZE_MAX - size + 1,
                          size_t{PTRDIFF_MAX} + 1, size_t{PTRDIFF_MAX}, size_t{PTRDIFF_MAX} - 4096}) {
      errno = kErrnoBefore;
      void *result = call::realloc(block, wanted);
      report.observe_block("realloc(p, huge)", result, 1);
      report.expect(result == nullptr && errno == ENOMEM, "realloc(p, %#zx) = %p, errno %d", wanted, result, errno);
    }
    report.expect(has_pattern(block, size, size, size), "the block of %zu changed", size);
    report.expect(call::malloc_usable_size(block) >= size, "the block of %zu shrank", size);
    call::free(block);
  }
}

void expect_kept(Report &report, size_t from, size_t to, size_t align) {
  void *start = nullptr;
  if (align == 0) start = call::malloc(from);
  else if (call::posix_memalign(&start, align, from) != 0) start = nullptr;
  if (start == nullptr) return report.expect(false, "no block of %zu aligned to %zu", from, align);
  write_pattern(bytes(start), from, to);
  errno = kErrnoBefore;
  unsigned char *moved = bytes(call::realloc(start, to));
  report.expect(moved != nullptr && aligned_to(moved, to > 8 ? 16 : 8), "realloc %zu -> %zu = %p", from, to, static_cast<void *>(moved));
  if (moved == nullptr) return call::free(start);
  report.expect(errno == kErrnoBefore, "realloc %zu -> %zu: errno %d", from, to, errno);
  report.expect(call::malloc_usable_size(moved) >= to, "realloc %zu -> %zu: usable %zu", from, to, call::malloc_usable_size(moved));
  report.expect(has_pattern(moved, from, to, to), "realloc %zu -> %zu (aligned to %zu) lost the contents", from, to, align);
  write_pattern(moved, to, from);
  call::free(moved);
}

void realloc_matrix(Report &report) {
  for (size_t from : kClasses) {
    for (size_t to : kClasses) {
      expect_kept(report, from, to, 0);
      expect_kept(report, from - 1, to - 1, 0);
      expect_kept(report, from - 1, to + 1, 0);
    }
  }
}

void realloc_matrix_large(Report &report) {
  for (size_t large : kLargeSizes) {
    for (size_t i = 0; i < sizeof kClasses / sizeof *kClasses; i += 6) {
      expect_kept(report, kClasses[i], large, 0);
      expect_kept(report, large, kClasses[i], 0);
    }
    for (size_t other : kLargeSizes) {
      expect_kept(report, large, other, 0);
      expect_kept(report, large, other, 65536);
    }
  }
}

void realloc_matrix_aligned(Report &report) {
  constexpr size_t kSizes[] = {1, 8, 24, 48, 100, 500, 1024, 1025, 2000, 4096, 9000, 20000, 32768, 32769, 100000};
  for (size_t from : kSizes) {
    for (size_t to : kSizes) {
      for (size_t align : {size_t{8}, size_t{16}, size_t{32}, size_t{64}, size_t{4096}, size_t{65536}}) expect_kept(report, from, to, align);
    }
  }
}

void realloc_up_and_down(Report &report) {
  unsigned char *block = bytes(call::malloc(16));
  write_pattern(block, 16, 16);
  const auto to = [&](size_t from, size_t size) {
    block = bytes(call::realloc(block, size));
    report.expect(block != nullptr && has_pattern(block, from, size, from), "%zu to %zu", from, size);
    if (block != nullptr) write_pattern(block, size, size);
  };
  constexpr size_t kTop = size_t{4} << 15;  // four times the largest class
  for (size_t size = 16; size < kTop && block != nullptr; size *= 2) to(size, 2 * size);
  for (size_t size = kTop; size > 1 && block != nullptr; size /= 2) to(size, size / 2);
  // And byte by byte over the small classes, there and back.
  for (size_t size = 1; size < 1300 && block != nullptr; ++size) to(size, size + 1);
  for (size_t size = 1300; size > 1 && block != nullptr; --size) to(size, size - 1);
  call::free(block);
}

void reallocarray_overflow(Report &report) {
  unsigned char *block = bytes(call::malloc(100));
  write_pattern(block, 100, 1);
  const size_t pairs[][2] = {{size_t{1} << 32, size_t{1} << 32}, {SIZE_MAX, 2}, {2, SIZE_MAX}, {SIZE_MAX / 2 + 2, 2},
                             {SIZE_MAX / 16 + 2, 16}, {SIZE_MAX, SIZE_MAX}, {1, SIZE_MAX}, {SIZE_MAX, 1}};
  for (const auto &pair : pairs) {
    for (void *source : {static_cast<void *>(block), static_cast<void *>(nullptr)}) {
      errno = kErrnoBefore;
      void *result = call::reallocarray(source, pair[0], pair[1]);
      report.observe_block("reallocarray overflow", result, 1);
      report.expect(result == nullptr && errno == ENOMEM, "reallocarray(%p, %#zx, %#zx) = %p, errno %d", source, pair[0], pair[1], result, errno);
    }
  }
  report.expect(has_pattern(block, 100, 100, 1), "the block changed");
  block = bytes(call::reallocarray(block, 50, 30));
  report.expect(block != nullptr && has_pattern(block, 100, 100, 1) && call::malloc_usable_size(block) >= 1500, "reallocarray(p, 50, 30)");
  call::free(block);
}

void reallocarray_nothing(Report &report) {
  for (const auto &[count, size] : {std::pair<size_t, size_t>{0, 16}, {16, 0}, {0, 0}, {0, SIZE_MAX}, {SIZE_MAX, 0}}) {
    errno = kErrnoBefore;
    void *block = call::reallocarray(nullptr, count, size);
    report.observe_block("reallocarray(NULL) of nothing", block, 8);
    report.expect(block != nullptr && errno == kErrnoBefore, "reallocarray(NULL, %zu, %zu), errno %d", count, size, errno);
    void *result = call::reallocarray(block, count, size);
    report.observe_block("reallocarray(p) of nothing", result, 1);
    report.expect(result == nullptr && errno == kErrnoBefore, "reallocarray(p, %zu, %zu) = %p, errno %d", count, size, result, errno);
  }
}

}  // namespace

const Case realloc_cases[] = {
    {9, "realloc_null_zero", realloc_null_zero},
    {10, "realloc_to_zero", realloc_to_zero},
    {10, "realloc_to_zero_frees", realloc_to_zero_frees},
    {11, "realloc_too_large", realloc_too_large},
    {12, "realloc_matrix", realloc_matrix},
    {12, "realloc_matrix_large", realloc_matrix_large},
    {12, "realloc_matrix_aligned", realloc_matrix_aligned},
    {13, "realloc_up_and_down", realloc_up_and_down},
    {14, "reallocarray_overflow", reallocarray_overflow},
    {15, "reallocarray_nothing", reallocarray_nothing},
    {0, nullptr, nullptr},
};

}  // namespace contract
