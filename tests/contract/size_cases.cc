// Cases 1 to 15: sizes. See report.h; run by victim.cc.
// Invariant: each case frees what it allocates.
#include "report.h"

#include <climits>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <malloc.h>

namespace contract {
namespace {

bool fails_with_no_memory(void *block) {
  const bool failed = block == nullptr && errno == ENOMEM;
  free(block);
  return failed;
}

void malloc_zero(Report &report) {
  errno = kErrnoBefore;
  void *a = malloc(0);
  void *b = malloc(0);
  report.observe_pointer("malloc(0)", a);
  report.expect(a != nullptr && b != nullptr && a != b, "malloc(0) twice: %p %p", a, b);
  report.expect(aligned_to(a, 8) && aligned_to(b, 8), "alignment of %p %p", a, b);
  report.expect(errno == kErrnoBefore, "errno %d", errno);
  free(a);
  free(b);
}

void malloc_too_large(Report &report) {
  for (size_t k = 0; k < (size_t{1} << 14); ++k) {
    errno = kErrnoBefore;
    report.expect(fails_with_no_memory(malloc(SIZE_MAX - k)), "malloc(SIZE_MAX - %zu): errno %d", k, errno);
  }
  errno = kErrnoBefore;
  report.expect(fails_with_no_memory(malloc(size_t{PTRDIFF_MAX} + 1)), "malloc(PTRDIFF_MAX + 1): errno %d", errno);
  errno = kErrnoBefore;
  void *block = malloc(size_t{PTRDIFF_MAX});
  report.observe_pointer("malloc(PTRDIFF_MAX)", block);
  report.expect(fails_with_no_memory(block), "malloc(PTRDIFF_MAX): errno %d", errno);
}

void malloc_too_large_after_small(Report &report) {
  free(malloc(16));
  errno = kErrnoBefore;
  void *block = malloc(SIZE_MAX);
  report.observe_pointer("malloc(SIZE_MAX)", block);
  report.expect(fails_with_no_memory(block), "malloc(SIZE_MAX): errno %d", errno);
}

void malloc_high_powers(Report &report) {
  for (size_t m = 1; m < (size_t{1} << 14); ++m) {
    for (size_t size : {(m << 50) - 1, m << 50, (m << 50) + 1}) {
      errno = kErrnoBefore;
      report.expect(fails_with_no_memory(malloc(size)), "malloc(%#zx): errno %d", size, errno);
    }
  }
}

void check_usable(Report &report, size_t size) {
  unsigned char *block = static_cast<unsigned char *>(malloc(size));
  report.expect(block != nullptr, "malloc(%zu)", size);
  if (block == nullptr) return;
  const size_t usable = malloc_usable_size(block);
  report.expect(usable >= size, "malloc(%zu): usable %zu", size, usable);
  report.expect(aligned_to(block, size > 8 ? 16 : 8), "malloc(%zu) = %p", size, static_cast<void *>(block));
  unsigned char *neighbour = static_cast<unsigned char *>(malloc(size));
  if (neighbour != nullptr) memset(neighbour, 0x11, size);
  memset(block, 0xee, usable);
  for (size_t at = 0; neighbour != nullptr && at < size; at += size > 4096 ? 1021 : 1) {
    if (neighbour[at] == 0x11) continue;
    report.expect(false, "malloc(%zu): a neighbour's byte %zu was overwritten", size, at);
    break;
  }
  report.expect(malloc_usable_size(block) == usable, "malloc(%zu): the usable size changed", size);
  free(neighbour);
  free(block);
}

void every_size(Report &report) {
  for (size_t size = 1; size <= 65536; size += size < 4096 ? 1 : 13) check_usable(report, size);
  for (unsigned log = 17; log <= 26; ++log) {
    for (size_t off = 0; off <= 64; off += 8) check_usable(report, (size_t{1} << log) - 32 + off);
  }
}

void calloc_nothing(Report &report) {
  errno = kErrnoBefore;
  void *blocks[] = {calloc(0, 100), calloc(100, 0), calloc(SIZE_MAX, 0), calloc(0, SIZE_MAX), calloc(0, 0)};
  for (void *&block : blocks) {
    report.observe_pointer("calloc of nothing", block);
    for (void *const &other : blocks) report.expect(&other == &block || other != block, "the same block twice: %p", block);
  }
  for (void *block : blocks) free(block);
}

void calloc_overflow(Report &report) {
  const size_t pairs[][2] = {{size_t{1} << 32, size_t{1} << 32}, {SIZE_MAX, 2}, {2, SIZE_MAX}, {3, SIZE_MAX / 3 + 1},
                             {size_t{LONG_MAX} + 1, 2}, {SIZE_MAX, SIZE_MAX}, {1, SIZE_MAX}};
  for (const auto &pair : pairs) {
    errno = kErrnoBefore;
    void *block = calloc(pair[0], pair[1]);
    report.observe_pointer("calloc overflow", block);
    report.expect(fails_with_no_memory(block), "calloc(%zu, %zu): errno %d", pair[0], pair[1], errno);
  }
}

bool all_zero(const unsigned char *block, size_t size) {
  return size == 0 || (block[0] == 0 && memcmp(block, block + 1, size - 1) == 0);
}

void calloc_reuses_dirty(Report &report) {
  for (int round = 0; round < 3; ++round) {
    for (size_t size = 1; size <= (size_t{8} << 20); size = size < 64 ? size + 7 : size + size / 3) {
      unsigned char *dirty = static_cast<unsigned char *>(malloc(size));
      if (dirty != nullptr) memset(dirty, 0xff, malloc_usable_size(dirty));
      free(dirty);
      if (round == 2) malloc_trim(0);
      unsigned char *block = static_cast<unsigned char *>(calloc(1, size));
      report.expect(block != nullptr && all_zero(block, size), "calloc(1, %zu) is not zero", size);
      if (block != nullptr) memset(block, 0xff, size);
      free(block);
    }
  }
}

void realloc_null_zero(Report &report) {
  errno = kErrnoBefore;
  void *block = realloc(nullptr, 0);
  report.observe_pointer("realloc(NULL, 0)", block);
  report.expect(block != nullptr && errno == kErrnoBefore, "realloc(NULL, 0) = %p", block);
  free(block);
}

void realloc_to_zero(Report &report) {
  for (size_t size : {size_t{1}, size_t{100}, size_t{5000}, size_t{1} << 20}) {
    void *block = malloc(size);
    errno = kErrnoBefore;
    void *result = realloc(block, 0);
    report.observe_pointer("realloc(p, 0)", result);
    report.expect(result == nullptr && errno == kErrnoBefore, "realloc(p, 0) = %p, errno %d", result, errno);
  }
}

void realloc_too_large(Report &report) {
  for (size_t size : {size_t{1}, size_t{100}, size_t{5000}, size_t{1} << 20}) {
    unsigned char *block = static_cast<unsigned char *>(malloc(size));
    memset(block, 0x5c, size);
    for (size_t wanted : {SIZE_MAX, SIZE_MAX - 100, size_t{PTRDIFF_MAX} + 1, size_t{PTRDIFF_MAX}}) {
      errno = kErrnoBefore;
      void *result = realloc(block, wanted);
      report.observe_pointer("realloc(p, huge)", result);
      report.expect(result == nullptr && errno == ENOMEM, "realloc(p, %#zx) = %p, errno %d", wanted, result, errno);
    }
    for (size_t at = 0; at < size; ++at) {
      if (block[at] == 0x5c) continue;
      report.expect(false, "the block of %zu changed at %zu", size, at);
      break;
    }
    free(block);
  }
}

constexpr size_t kMatrixSizes[] = {1, 8, 9, 16, 17, 24, 33, 100, 128, 500, 1024, 1025, 2000, 4096, 9000, 20000, 32768, 32769, 65536, 200000, 300000, 1 << 20, 3 << 20};

void realloc_matrix(Report &report) {
  for (size_t from : kMatrixSizes) {
    for (size_t to : kMatrixSizes) {
      for (size_t align : {size_t{0}, size_t{64}, size_t{4096}}) {
        void *start = nullptr;
        if (align == 0) start = malloc(from);
        else if (posix_memalign(&start, align, from) != 0) start = nullptr;
        unsigned char *block = static_cast<unsigned char *>(start);
        if (block == nullptr) {
          report.expect(false, "no block of %zu aligned to %zu", from, align);
          continue;
        }
        for (size_t at = 0; at < from; at += 97) block[at] = static_cast<unsigned char>(at * 7 + 1);
        unsigned char *moved = static_cast<unsigned char *>(realloc(block, to));
        report.expect(moved != nullptr && aligned_to(moved, to > 8 ? 16 : 8), "realloc %zu -> %zu = %p", from, to, static_cast<void *>(moved));
        bool kept = moved != nullptr;
        for (size_t at = 0; kept && at < from && at < to; at += 97) kept = moved[at] == static_cast<unsigned char>(at * 7 + 1);
        report.expect(kept, "realloc %zu -> %zu (aligned %zu) lost the contents", from, to, align);
        free(moved);
      }
    }
  }
}

void realloc_up_and_down(Report &report) {
  unsigned char *block = static_cast<unsigned char *>(malloc(16));
  memset(block, 0x42, 16);
  for (size_t size = 32; size <= size_t{4} << 15; size *= 2) {
    block = static_cast<unsigned char *>(realloc(block, size));
    report.expect(block != nullptr && block[0] == 0x42 && block[size / 2 - 1] == 0x42, "growing to %zu", size);
    memset(block, 0x42, size);
  }
  for (size_t size = size_t{4} << 15; size >= 1; size /= 2) {
    block = static_cast<unsigned char *>(realloc(block, size));
    report.expect(block != nullptr && block[0] == 0x42 && block[size - 1] == 0x42, "shrinking to %zu", size);
  }
  free(block);
}

void reallocarray_overflow(Report &report) {
  unsigned char *block = static_cast<unsigned char *>(malloc(100));
  memset(block, 0x33, 100);
  const size_t pairs[][2] = {{size_t{1} << 32, size_t{1} << 32}, {SIZE_MAX, 2}, {SIZE_MAX / 2 + 2, 2}};
  for (const auto &pair : pairs) {
    errno = kErrnoBefore;
    void *result = reallocarray(block, pair[0], pair[1]);
    report.observe_pointer("reallocarray overflow", result);
    report.expect(result == nullptr && errno == ENOMEM, "reallocarray(p, %zu, %zu) = %p", pair[0], pair[1], result);
  }
  report.expect(block[0] == 0x33 && block[99] == 0x33, "the block changed");
  free(block);
}

void reallocarray_nothing(Report &report) {
  errno = kErrnoBefore;
  void *block = reallocarray(nullptr, 0, 16);
  report.observe_pointer("reallocarray(NULL, 0, 16)", block);
  report.expect(block != nullptr, "reallocarray(NULL, 0, 16)");
  void *result = reallocarray(block, 0, 16);
  report.observe_pointer("reallocarray(p, 0, 16)", result);
  report.expect(result == nullptr && errno == kErrnoBefore, "reallocarray(p, 0, 16) = %p", result);
}

}  // namespace

const Case size_cases[] = {
    {1, "malloc_zero", malloc_zero},
    {2, "malloc_too_large", malloc_too_large},
    {3, "malloc_too_large_after_small", malloc_too_large_after_small},
    {4, "malloc_high_powers", malloc_high_powers},
    {5, "every_size", every_size},
    {6, "calloc_nothing", calloc_nothing},
    {7, "calloc_overflow", calloc_overflow},
    {8, "calloc_reuses_dirty", calloc_reuses_dirty},
    {9, "realloc_null_zero", realloc_null_zero},
    {10, "realloc_to_zero", realloc_to_zero},
    {11, "realloc_too_large", realloc_too_large},
    {12, "realloc_matrix", realloc_matrix},
    {13, "realloc_up_and_down", realloc_up_and_down},
    {14, "reallocarray_overflow", reallocarray_overflow},
    {15, "reallocarray_nothing", reallocarray_nothing},
    {0, nullptr, nullptr},
};

}  // namespace contract
