// Cases 16 to 28: alignment. See report.h; run by victim.cc.
// Invariant: each case frees what it allocates.
#include "report.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <malloc.h>

namespace contract {
namespace {

constexpr size_t kOsPage = 4096;

// Hides a constant from the compiler, which knows what alignments ought to be.
size_t opaque(size_t n) {
  volatile size_t copy = n;
  return copy;
}

void posix_memalign_bad_alignment(Report &report) {
  for (size_t align : {size_t{0}, size_t{1}, size_t{2}, size_t{4}, size_t{12}, size_t{24}, size_t{4097}, SIZE_MAX}) {
    void *const untouched = &report;
    void *out = untouched;
    errno = kErrnoBefore;
    const int result = posix_memalign(&out, opaque(align), 100);
    report.observe("posix_memalign(%zu)=%d errno %d %s", align, result, errno, out == untouched ? "kept" : "written");
    report.expect(result == EINVAL && errno == kErrnoBefore && out == untouched, "posix_memalign(%zu): %d, errno %d", align, result, errno);
  }
}

void posix_memalign_all(Report &report) {
  for (size_t align = 8; align <= size_t{1} << 23; align *= 2) {
    for (size_t size : {size_t{0}, size_t{1}, align / 2, align - 1, align, align + 1, 3 * align}) {
      void *out = nullptr;
      errno = kErrnoBefore;
      const int result = posix_memalign(&out, opaque(align), size);
      report.expect(result == 0 && errno == kErrnoBefore && out != nullptr && aligned_to(out, align),
                    "posix_memalign(%zu, %zu): %d, %p, errno %d", align, size, result, out, errno);
      if (result != 0) continue;
      report.expect(malloc_usable_size(out) >= size, "usable size of posix_memalign(%zu, %zu)", align, size);
      memset(out, 1, size < 65536 ? size : 65536);
      free(out);
    }
  }
}

void posix_memalign_no_memory(Report &report) {
  const size_t pairs[][2] = {{4096, SIZE_MAX}, {size_t{1} << 63, 8}, {size_t{1} << 62, 3 * (size_t{1} << 62)}, {16, SIZE_MAX - 15}};
  for (const auto &pair : pairs) {
    void *const untouched = &report;
    void *out = untouched;
    errno = kErrnoBefore;
    const int result = posix_memalign(&out, opaque(pair[0]), pair[1]);
    report.observe("posix_memalign without memory=%d %s", result, out == untouched ? "kept" : "written");
    report.expect(result == ENOMEM && out == untouched, "posix_memalign(%#zx, %#zx): %d", pair[0], pair[1], result);
  }
}

void memalign_rounds_up(Report &report) {
  for (size_t align : {size_t{0}, size_t{1}, size_t{3}, size_t{24}, size_t{100}, size_t{5000}}) {
    errno = kErrnoBefore;
    void *block = memalign(opaque(align), 100);
    report.observe_pointer("memalign of any alignment", block);
    size_t rounded = 16;
    while (rounded < align) rounded *= 2;
    report.expect(block != nullptr && aligned_to(block, rounded), "memalign(%zu) = %p", align, block);
    free(block);
  }
}

void memalign_impossible(Report &report) {
  const struct {
    size_t align, size;
    int error;
  } rows[] = {{size_t{1} << 63, 10, ENOMEM}, {(size_t{1} << 63) + 1, 10, EINVAL}, {SIZE_MAX, kOsPage, EINVAL},
              {size_t{1} << 62, 10, ENOMEM}};
  for (const auto &row : rows) {
    errno = kErrnoBefore;
    void *block = memalign(opaque(row.align), row.size);
    report.observe_pointer("memalign impossible", block);
    report.expect(block == nullptr && errno == row.error, "memalign(%#zx, %zu) = %p, errno %d", row.align, row.size, block, errno);
  }
}

void memalign_wraps(Report &report) {
  for (size_t align = 8; align <= size_t{1} << 30; align *= 2) {
    for (size_t size : {size_t{0} - align, size_t{1} - align, size_t{0} - kOsPage}) {
      errno = kErrnoBefore;
      void *block = memalign(opaque(align), size);
      report.expect(block == nullptr && errno == ENOMEM, "memalign(%zu, %#zx) = %p, errno %d", align, size, block, errno);
    }
  }
}

void memalign_small(Report &report) {
  const size_t pairs[][2] = {{8, 0}, {8, 1}, {0x100, 10}, {0x100, 0}, {16, 8}, {32, 48}, {32, 80}, {64, 144}};
  for (const auto &pair : pairs) {
    errno = kErrnoBefore;
    void *block = memalign(opaque(pair[0]), pair[1]);
    report.observe_pointer("memalign small", block);
    report.expect(block != nullptr && aligned_to(block, pair[0]), "memalign(%zu, %zu) = %p", pair[0], pair[1], block);
    free(block);
  }
}

void aligned_alloc_bad_alignment(Report &report) {
  for (size_t align : {size_t{0}, size_t{3}, size_t{24}}) {
    errno = kErrnoBefore;
    void *block = aligned_alloc(opaque(align), 10);
    const int error = errno;
    report.observe("aligned_alloc(%zu)=%s errno %d", align, block != nullptr ? "block" : "NULL", error);
    free(block);
  }
}

void aligned_alloc_odd_size(Report &report) {
  errno = kErrnoBefore;
  void *block = aligned_alloc(opaque(64), 10);
  report.observe_pointer("aligned_alloc((64), 10)", block);
  report.expect(block != nullptr && aligned_to(block, 64), "aligned_alloc((64), 10) = %p", block);
  free(block);
}

void aligned_alloc_huge_alignment(Report &report) {
  errno = kErrnoBefore;
  void *block = aligned_alloc(opaque(SIZE_MAX), 8);
  report.observe_pointer("aligned_alloc((SIZE_MAX), 8)", block);
  report.expect(block == nullptr && errno == EINVAL, "aligned_alloc((SIZE_MAX), 8) = %p, errno %d", block, errno);
}

size_t resident_bytes() {
  unsigned long size = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == nullptr || fscanf(file, "%lu %lu", &size, &resident) != 2) resident = 0;
  if (file != nullptr) fclose(file);
  return resident * kOsPage;
}

void alignment_of_a_gibibyte(Report &report) {
  const size_t before = resident_bytes();
  for (unsigned log : {30u, 40u}) {
    errno = kErrnoBefore;
    void *block = aligned_alloc(opaque(size_t{1} << log), 10);
    report.expect(block != nullptr ? aligned_to(block, size_t{1} << log) : errno == ENOMEM, "aligned_alloc(2^%u) = %p, errno %d", log, block, errno);
    free(block);
  }
  report.expect(resident_bytes() < before + (size_t{64} << 20), "a large alignment committed its slack");
}

void free_aligned_by_any_means(Report &report) {
  for (size_t align : {size_t{16}, size_t{32}, size_t{64}, size_t{4096}, size_t{16384}}) {
    for (size_t size : {size_t{10}, size_t{48}, size_t{1000}, size_t{5000}, size_t{100000}}) {
      unsigned char *blocks[3];
      for (unsigned char *&block : blocks) {
        block = static_cast<unsigned char *>(aligned_alloc(opaque(align), size));
        report.expect(block != nullptr && aligned_to(block, align), "aligned_alloc(%zu, %zu)", align, size);
        if (block == nullptr) return;
        memset(block, 0x77, size);
      }
      free(blocks[0]);
      unsigned char *moved = static_cast<unsigned char *>(realloc(blocks[1], 2 * size));
      report.expect(moved != nullptr && moved[0] == 0x77 && moved[size - 1] == 0x77, "realloc of aligned %zu, %zu", align, size);
      free(moved);
      report.expect(malloc_usable_size(blocks[2]) >= size, "usable size");
      free(blocks[2]);
    }
  }
}

void valloc_and_pvalloc(Report &report) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{4097}}) {
    errno = kErrnoBefore;
    void *block = valloc(size);
    report.observe_pointer("valloc", block);
    report.expect(block != nullptr && aligned_to(block, kOsPage), "valloc(%zu) = %p", size, block);
    void *pages = pvalloc(size);
    report.observe_pointer("pvalloc", pages);
    report.expect(pages != nullptr && aligned_to(pages, kOsPage), "pvalloc(%zu) = %p", size, pages);
    if (size != 0) report.expect(malloc_usable_size(pages) >= (size + kOsPage - 1) / kOsPage * kOsPage, "usable size of pvalloc(%zu)", size);
    free(block);
    free(pages);
  }
  for (size_t size : {SIZE_MAX, SIZE_MAX - 4094, SIZE_MAX - 4095}) {
    errno = kErrnoBefore;
    void *block = valloc(size);
    report.observe_pointer("valloc huge", block);
    report.expect(block == nullptr && errno == ENOMEM, "valloc(%#zx) = %p, errno %d", size, block, errno);
    errno = kErrnoBefore;
    block = pvalloc(size);
    report.observe_pointer("pvalloc huge", block);
    report.expect(block == nullptr && errno == ENOMEM, "pvalloc(%#zx) = %p, errno %d", size, block, errno);
  }
}

}  // namespace

const Case alignment_cases[] = {
    {16, "posix_memalign_bad_alignment", posix_memalign_bad_alignment},
    {17, "posix_memalign_all", posix_memalign_all},
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
