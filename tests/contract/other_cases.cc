// Cases 29 to 32 and 35: usable sizes, other ways to free, errno, introspection. See report.h; run by victim.cc.
// Invariant: each case frees what it allocates.
#include "family.h"
#include "pattern.h"
#include "process_facts.h"
#include "report.h"
#include "xml_form.h"

#include <sys/mman.h>
#include <unistd.h>

namespace contract {
namespace {

void usable_size_of_null(Report &report) {
  errno = kErrnoBefore;
  const size_t usable = call::malloc_usable_size(nullptr);
  report.observe("malloc_usable_size(NULL)=%zu errno %d", usable, errno);
  report.expect(usable == 0 && errno == kErrnoBefore, "malloc_usable_size(NULL) = %zu, errno %d", usable, errno);
}

void usable_size(Report &report) {
  const auto check = [&](size_t size) {
    unsigned char *block = bytes(call::malloc(size));
    const size_t usable = call::malloc_usable_size(block);
    report.expect(usable >= size, "usable size of %zu: %zu", size, usable);
    write_pattern(block, usable, size);
    call::free(call::malloc(size));
    void *next = call::malloc(usable);
    report.expect(call::malloc_usable_size(block) == usable && has_pattern(block, usable, usable, size), "the usable size of %zu changed", size);
    // Within the usable size nothing needs to move, and nothing may be lost.
    block = bytes(call::realloc(block, usable));
    report.expect(block != nullptr && has_pattern(block, usable, usable, size), "realloc of %zu to its usable size", size);
    call::free(next);
    call::free(block);
  };
  for (size_t size : kClasses) {
    check(size - 1);
    check(size);
    check(size + 1);
  }
  for (size_t size : kLargeSizes) check(size);
}

void free_null(Report &report) {
  errno = kErrnoBefore;
  call::free(nullptr);
  call::libc_free(nullptr);
  report.observe("free(NULL)=errno %d", errno);
  report.expect(errno == kErrnoBefore, "free(NULL): errno %d", errno);
}

void free_by_other_names(Report &report) {
  auto *free_sized = call::find_free_sized();
  auto *free_aligned_sized = call::find_free_aligned_sized();
  auto *cfree = call::find_cfree();
  report.observe("free_sized=%s", free_sized != nullptr ? "present" : "absent");
  report.observe("free_aligned_sized=%s", free_aligned_sized != nullptr ? "present" : "absent");
  report.observe("cfree=%s", cfree != nullptr ? "present" : "absent");
  errno = kErrnoBefore;
  if (free_sized != nullptr) free_sized(nullptr, 0);
  if (free_sized != nullptr) free_sized(nullptr, 100);
  if (free_aligned_sized != nullptr) free_aligned_sized(nullptr, 64, 0);
  if (cfree != nullptr) cfree(nullptr);
  report.expect(errno == kErrnoBefore, "errno %d after frees of NULL", errno);
  const size_t resident = resident_bytes();
  for (int round = 0; round < 40; ++round) {
    for (size_t size : {size_t{0}, size_t{8}, size_t{100}, size_t{5000}, size_t{1} << 20}) {
      errno = kErrnoBefore;
      if (free_sized != nullptr) {
        for (const Maker &maker : {kMakers[0], kMakers[1], kMakers[3]}) {
          void *block = maker.make(size);
          if (block != nullptr) memset(block, 1, size);
          free_sized(block, size);
        }
      }
      if (free_aligned_sized != nullptr) free_aligned_sized(call::aligned_alloc(64, (size + 63) / 64 * 64), 64, (size + 63) / 64 * 64);
      if (cfree != nullptr) cfree(call::malloc(size));
      report.expect(errno == kErrnoBefore, "errno %d after frees of %zu", errno, size);
    }
  }
  report.expect(resident_bytes() < resident + (size_t{32} << 20), "freed memory is not reused: resident %zu, then %zu", resident, resident_bytes());
}

// What free takes, the next call gets: many rounds need no more memory than a few.
void freed_memory_comes_back(Report &report) {
  constexpr size_t kTotal = size_t{64} << 20;
  for (const Maker &maker : kMakers) {
    for (size_t size : {size_t{5000}, size_t{40000}, size_t{1} << 20}) {
      const size_t resident = resident_bytes();
      for (size_t made = 0; made < kTotal; made += size) {
        unsigned char *block = bytes(maker.make(size));
        for (size_t at = 0; block != nullptr && at < size; at += kOsPage) block[at] = 1;
        call::free(block);
      }
      report.expect(resident_bytes() < resident + kTotal / 2, "%s of %zu: resident %zu, then %zu", maker.name, size, resident, resident_bytes());
    }
  }
}

void errno_stays(Report &report) {
  for (const Maker &maker : kMakers) {
    for (size_t size = 0; size < 5000000; size += size / 2 + 3) {
      errno = kErrnoBefore;
      void *block = maker.make(size);
      report.expect(block != nullptr && errno == kErrnoBefore, "%s of %zu: %p, errno %d", maker.name, size, block, errno);
      void *moved = call::realloc(block, size * 2 + 1);
      report.expect(moved != nullptr && errno == kErrnoBefore, "%s, realloc to %zu: %p, errno %d", maker.name, size * 2 + 1, moved, errno);
      if (moved != nullptr) report.expect(call::malloc_usable_size(moved) > size * 2 && errno == kErrnoBefore, "usable size: errno %d", errno);
      call::free(moved);
      report.expect(errno == kErrnoBefore, "%s, free of %zu: errno %d", maker.name, size, errno);
    }
  }
  errno = kErrnoBefore;
  malloc_trim(0);
  report.observe("malloc_trim=errno %d", errno);
  report.expect(errno == kErrnoBefore, "malloc_trim: errno %d", errno);
}

// As many mappings as the kernel allows, so that nothing can be split any more: munmap of a part, mprotect
// and some madvise fail. Every second page of one reservation gets another protection.
class MappingsExhausted {
 public:
  MappingsExhausted() {
    start_ = static_cast<unsigned char *>(mmap(nullptr, kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (start_ == MAP_FAILED) return;
    for (size_t at = kOsPage; at < kBytes && !full_; at += 2 * kOsPage) full_ = mprotect(start_ + at, kOsPage, PROT_READ) != 0;
  }
  ~MappingsExhausted() {
    if (start_ != MAP_FAILED) munmap(start_, kBytes);
  }
  MappingsExhausted(const MappingsExhausted &) = delete;
  MappingsExhausted &operator=(const MappingsExhausted &) = delete;
  bool full() const { return full_; }

 private:
  static constexpr size_t kBytes = size_t{80000} * kOsPage;  // Linux's default limit is 65530 mappings
  unsigned char *start_ = nullptr;
  bool full_ = false;
};

void free_when_the_kernel_refuses(Report &report) {
  constexpr size_t kBlocks = 32;
  constexpr size_t kSizes[] = {100, 5000, 40000, 200000, size_t{1} << 20, size_t{5} << 20};
  void *blocks[sizeof kSizes / sizeof *kSizes][kBlocks];
  for (size_t row = 0; row < sizeof kSizes / sizeof *kSizes; ++row) {
    for (void *&block : blocks[row]) {
      block = call::malloc(kSizes[row]);
      report.expect(block != nullptr, "malloc(%zu)", kSizes[row]);
      if (block == nullptr) return;
      memset(block, 1, 100);
    }
  }
  {
    const MappingsExhausted exhausted;
    bool shrinking_keeps_errno = true;
    report.observe("mappings=%s", exhausted.full() ? "exhausted" : "left");
    for (size_t row = 0; row < sizeof kSizes / sizeof *kSizes; ++row) {
      // Every second one first, so that no two neighbours go together.
      for (size_t start : {size_t{0}, size_t{1}}) {
        for (size_t at = start; at < kBlocks; at += 2) {
          errno = kErrnoBefore;
          if (at % 8 == 2) blocks[row][at] = call::realloc(blocks[row][at], kSizes[row] / 2);
          report.expect(blocks[row][at] != nullptr, "shrinking %zu: errno %d", kSizes[row], errno);
          shrinking_keeps_errno = shrinking_keeps_errno && errno == kErrnoBefore;
          errno = kErrnoBefore;
          call::free(blocks[row][at]);
          report.expect(errno == kErrnoBefore, "free of %zu: errno %d", kSizes[row], errno);
        }
      }
    }
    report.observe("errno after shrinking without mappings=%s", shrinking_keeps_errno ? "kept" : "changed");
    malloc_trim(0);
    errno = kErrnoBefore;
    void *block = call::malloc(size_t{600} << 20);
    report.expect(block != nullptr || errno == ENOMEM, "malloc without mappings: errno %d", errno);
    call::free(block);
  }
  for (size_t size : kSizes) {
    unsigned char *block = bytes(call::malloc(size));
    report.expect(block != nullptr, "malloc(%zu) after the limit is gone", size);
    if (block != nullptr) write_pattern(block, size, 1);
    call::free(block);
  }
}

void mallopt_parameters(Report &report) {
  void *before = call::malloc(100);
  const struct {
    const char *name;
    int parameter, value;
  } rows[] = {
      {"M_MXFAST", M_MXFAST, 64},         {"M_MXFAST too large", M_MXFAST, 1 << 20},
      {"M_NLBLKS", M_NLBLKS, 1},          {"M_GRAIN", M_GRAIN, 1},
      {"M_KEEP", M_KEEP, 1},              {"M_TRIM_THRESHOLD", M_TRIM_THRESHOLD, 1 << 20},
      {"M_TOP_PAD", M_TOP_PAD, 1 << 16},  {"M_MMAP_THRESHOLD", M_MMAP_THRESHOLD, 1 << 20},
      {"M_MMAP_THRESHOLD large", M_MMAP_THRESHOLD, 1 << 30},
      {"M_MMAP_MAX", M_MMAP_MAX, 1000},   {"M_CHECK_ACTION", M_CHECK_ACTION, 3},
      {"M_PERTURB", M_PERTURB, 0},        {"M_ARENA_TEST", M_ARENA_TEST, 2},
      {"M_ARENA_MAX", M_ARENA_MAX, 2},    {"unknown -9999", -9999, 1},
      {"unknown 0", 0, 0},                {"unknown 12345", 12345, 1},
  };
  for (const auto &row : rows) {
    errno = kErrnoBefore;
    const int result = mallopt(row.parameter, row.value);
    report.observe("mallopt(%s)=%d", row.name, result);
    report.expect(errno == kErrnoBefore, "mallopt(%s): errno %d", row.name, errno);
    void *block = call::malloc(2000);
    report.expect(block != nullptr, "malloc after mallopt(%s)", row.name);
    call::free(block);
  }
  call::free(before);
}

void mallinfo_counts(Report &report) {
  constexpr size_t kLarge = size_t{3} << 20;
  constexpr size_t kCounted = kLarge + 50 * 1000;  // half of the small ones: glibc counts its thread cache as in use
  const auto in_use = [](const struct mallinfo2 &info) { return info.uordblks + info.hblkhd; };
  errno = kErrnoBefore;
  const struct mallinfo2 before = mallinfo2();
  void *blocks[100];
  for (void *&block : blocks) block = call::malloc(1000);
  void *large = call::malloc(kLarge);
  const struct mallinfo2 during = mallinfo2();
  report.expect(in_use(during) >= in_use(before) + kCounted, "mallinfo2: in use %zu, then %zu", in_use(before), in_use(during));
  report.expect(during.arena + during.hblkhd >= kLarge, "mallinfo2: arena %zu, hblkhd %zu", during.arena, during.hblkhd);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  const struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop
  const size_t narrow_in_use = static_cast<size_t>(narrow.uordblks) + static_cast<size_t>(narrow.hblkhd);
  report.expect(narrow_in_use >= kLarge, "mallinfo: uordblks %d, hblkhd %d", narrow.uordblks, narrow.hblkhd);
  call::free(large);
  for (void *block : blocks) call::free(block);
  const struct mallinfo2 after = mallinfo2();
  report.expect(in_use(after) + kLarge / 2 < in_use(during), "mallinfo2: in use %zu, after free %zu", in_use(during), in_use(after));
  report.expect(errno == kErrnoBefore, "errno %d", errno);
}

void malloc_info_is_xml(Report &report) {
  void *blocks[] = {call::malloc(0), call::malloc(100), call::malloc(5000), call::malloc(3 << 20)};
  char *text = nullptr;
  size_t length = 0;
  FILE *stream = open_memstream(&text, &length);
  report.observe("malloc_info(0)=%d", malloc_info(0, stream));
  fclose(stream);
  report.expect(length > 20 && strncmp(text, "<malloc version=\"", 17) == 0, "malloc_info: %.60s", text);
  const char *error = XmlForm::first_error(text);
  report.expect(error == nullptr, "malloc_info: no XML from here on: %.60s", error);
  call::free(text);
  stream = open_memstream(&text, &length);
  for (int options : {1, -1}) {
    const int result = malloc_info(options, stream);
    report.observe("malloc_info(%d)=%d", options, result);
    report.expect(result == EINVAL, "malloc_info(%d) = %d", options, result);
  }
  fclose(stream);
  report.expect(length == 0, "a refused malloc_info writes %zu bytes", length);
  call::free(text);
  for (void *block : blocks) call::free(block);
}

// To stderr, and nowhere else.
void malloc_stats_writes(Report &report) {
  const int keep = dup(STDERR_FILENO), file = memfd_create("stats", MFD_CLOEXEC);
  report.expect(keep >= 0 && file >= 0, "no descriptors");
  dup2(file, STDERR_FILENO);
  errno = kErrnoBefore;
  malloc_stats();
  const int error = errno;
  fflush(stderr);
  dup2(keep, STDERR_FILENO);
  const off_t written = lseek(file, 0, SEEK_END);
  report.expect(written > 20, "malloc_stats wrote %ld bytes to stderr", static_cast<long>(written));
  report.observe("malloc_stats=%s errno %d", written > 20 ? "writes" : "is silent", error);
  close(file);
  close(keep);
}

void malloc_trim_any_pad(Report &report) {
  for (int round = 0; round < 3; ++round) {
    void *blocks[64];
    for (void *&block : blocks) {
      block = call::malloc(100000);
      if (block != nullptr) memset(block, 1, 100000);
    }
    void *kept = blocks[20];
    write_pattern(bytes(kept), 100000, 20);
    for (void *block : blocks) {
      if (block != kept) call::free(block);
    }
    for (size_t pad : {size_t{0}, size_t{1} << 20, SIZE_MAX / 2}) {
      errno = kErrnoBefore;
      const int result = malloc_trim(pad);
      report.expect((result == 0 || result == 1) && errno == kErrnoBefore, "malloc_trim(%zu) = %d, errno %d", pad, result, errno);
    }
    report.expect(has_pattern(bytes(kept), 100000, 100000, 20), "malloc_trim lost a live block");
    call::free(kept);
  }
}

}  // namespace

const Case other_cases[] = {
    {29, "usable_size_of_null", usable_size_of_null},
    {29, "usable_size", usable_size},
    {30, "free_null", free_null},
    {30, "free_by_other_names", free_by_other_names},
    {30, "freed_memory_comes_back", freed_memory_comes_back},
    {31, "errno_stays", errno_stays},
    {32, "free_when_the_kernel_refuses", free_when_the_kernel_refuses},
    {35, "mallopt_parameters", mallopt_parameters},
    {35, "mallinfo_counts", mallinfo_counts},
    {35, "malloc_info_is_xml", malloc_info_is_xml},
    {35, "malloc_stats_writes", malloc_stats_writes},
    {35, "malloc_trim_any_pad", malloc_trim_any_pad},
    {0, nullptr, nullptr},
};

}  // namespace contract
