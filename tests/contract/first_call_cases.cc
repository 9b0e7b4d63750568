// Each function as the very first that a process calls, before the heap exists; warm it is a call like any other.
// See report.h; run by victim.cc. Invariant: nothing before the one call touches the heap.
#include "family.h"
#include "pattern.h"
#include "report.h"

namespace contract {
namespace {

void expect_block(Report &report, const char *name, void *block, size_t size, size_t align) {
  report.observe_block(name, block, align);
  report.expect(block != nullptr && aligned_to(block, align) && errno == kErrnoBefore, "%s: %p, errno %d", name, block, errno);
  if (block == nullptr) return;
  report.expect(call::malloc_usable_size(block) >= size, "%s: usable size %zu", name, call::malloc_usable_size(block));
  write_pattern(bytes(block), size, 1);
  call::free(block);
  report.expect(errno == kErrnoBefore, "%s, free: errno %d", name, errno);
  void *next = call::malloc(size);
  report.expect(next != nullptr && errno == kErrnoBefore, "malloc after %s: %p, errno %d", name, next, errno);
  call::free(next);
}

template <size_t maker, size_t size>
void make(Report &report) {
  errno = kErrnoBefore;
  expect_block(report, kMakers[maker].name, kMakers[maker].make(size), size, size > 8 ? kMakers[maker].align : 8);
}

template <size_t maker>
void fail(Report &report) {
  errno = kErrnoBefore;
  void *block = kMakers[maker].make(SIZE_MAX);
  report.observe_block(kMakers[maker].name, block, 1);
  report.expect(block == nullptr && errno == ENOMEM, "%s of SIZE_MAX: %p, errno %d", kMakers[maker].name, block, errno);
  errno = kErrnoBefore;
  expect_block(report, "malloc after a failure", call::malloc(100), 100, 16);
}

// A call that returns no block: errno stays, and the heap works afterwards.
template <auto act>
void no_block(Report &report) {
  errno = kErrnoBefore;
  act(report);
  report.observe("errno=%d", errno);
  report.expect(errno == kErrnoBefore, "errno %d", errno);
  expect_block(report, "malloc afterwards", call::malloc(100), 100, 16);
}

void calloc_zero_pages(Report &report) {
  errno = kErrnoBefore;
  unsigned char *block = bytes(call::calloc(1000, 1000));
  report.expect(block != nullptr && all_zero(block, 1000000), "the first calloc is not zero");
  expect_block(report, "calloc(1000, 1000)", block, 1000000, 16);
}

void strdup_text(Report &report) {
  errno = kErrnoBefore;
  expect_block(report, "strdup", strdup("twelve bytes"), 13, 16);
}

void look_at_mallinfo(Report &) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  mallinfo();
#pragma GCC diagnostic pop
}

void write_malloc_info(Report &report) {
  const int error = errno;
  FILE *null = fopen("/dev/null", "w");  // the stream itself is allocated: this is the second call
  errno = error;
  report.expect(null != nullptr && malloc_info(0, null) == 0, "malloc_info");
  fclose(null);
}

}  // namespace

const Case first_call_cases[] = {
    {kFirstCall, "first_malloc_0", make<0, 0>},
    {kFirstCall, "first_malloc_1", make<0, 1>},
    {kFirstCall, "first_malloc_100", make<0, 100>},
    {kFirstCall, "first_malloc_32768", make<0, 32768>},
    {kFirstCall, "first_malloc_32769", make<0, 32769>},
    {kFirstCall, "first_malloc_64_mib", make<0, size_t{64} << 20>},
    {kFirstCall, "first_calloc", make<1, 100>},
    {kFirstCall, "first_calloc_large", calloc_zero_pages},
    {kFirstCall, "first_realloc", make<3, 100>},
    {kFirstCall, "first_reallocarray", make<4, 100>},
    {kFirstCall, "first_memalign", make<6, 100>},
    {kFirstCall, "first_aligned_alloc", make<7, 100>},
    {kFirstCall, "first_posix_memalign", make<8, 100>},
    {kFirstCall, "first_posix_memalign_large", make<8, size_t{8} << 20>},
    {kFirstCall, "first_valloc", make<9, 100>},
    {kFirstCall, "first_pvalloc", make<10, 100>},
    {kFirstCall, "first_strdup", strdup_text},
    {kFirstCall, "first_fails_malloc", fail<0>},
    {kFirstCall, "first_fails_calloc", fail<2>},
    {kFirstCall, "first_fails_realloc", fail<3>},
    {kFirstCall, "first_fails_reallocarray", fail<5>},
    {kFirstCall, "first_fails_memalign", fail<6>},
    {kFirstCall, "first_fails_posix_memalign", fail<8>},
    {kFirstCall, "first_fails_pvalloc", fail<10>},
    {kFirstCall, "first_free_null", no_block<[](Report &) { call::free(nullptr); }>},
    {kFirstCall, "first_usable_size_null", no_block<[](Report &) { call::malloc_usable_size(nullptr); }>},
    {kFirstCall, "first_malloc_trim", no_block<[](Report &) { malloc_trim(0); }>},
    {kFirstCall, "first_mallopt", no_block<[](Report &) { mallopt(M_ARENA_MAX, 1); }>},
    {kFirstCall, "first_mallinfo", no_block<look_at_mallinfo>},
    {kFirstCall, "first_mallinfo2", no_block<[](Report &) { mallinfo2(); }>},
    {kFirstCall, "first_malloc_stats", no_block<[](Report &) { malloc_stats(); }>},
    {kFirstCall, "first_malloc_info", no_block<write_malloc_info>},
    {0, nullptr, nullptr},
};

}  // namespace contract
