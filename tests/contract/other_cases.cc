// Cases 29 to 36 but for C++: usable sizes, errno, introspection, glibc's other names, functions that allocate
// for the caller. See report.h; run by victim.cc. Invariant: each case frees what it allocates.
#include "report.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <dlfcn.h>
#include <malloc.h>
#include <unistd.h>

extern "C" {
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void __libc_free(void *);
void *__libc_memalign(size_t, size_t);
}

namespace contract {
namespace {

void usable_size(Report &report) {
  report.expect(malloc_usable_size(nullptr) == 0, "malloc_usable_size(NULL) = %zu", malloc_usable_size(nullptr));
  for (size_t size = 1; size < 3000000; size += size / 3 + 1) {
    void *block = malloc(size);
    const size_t usable = malloc_usable_size(block);
    report.expect(usable >= size, "usable size of %zu: %zu", size, usable);
    memset(block, 0xdd, usable);
    free(malloc(size));
    report.expect(malloc_usable_size(block) == usable, "the usable size of %zu changed", size);
    free(block);
  }
}

// Absent from glibc 2.36: looked up, so that the control run links.
template <class Function>
Function *find(const char *name) {
  return reinterpret_cast<Function *>(dlsym(RTLD_DEFAULT, name));
}

void free_by_other_names(Report &report) {
  errno = kErrnoBefore;
  free(nullptr);
  report.expect(errno == kErrnoBefore, "free(NULL): errno %d", errno);
  auto *free_sized = find<void(void *, size_t)>("free_sized");
  auto *free_aligned_sized = find<void(void *, size_t, size_t)>("free_aligned_sized");
  auto *cfree = find<void(void *)>("cfree");
  report.observe("free_sized=%s", free_sized != nullptr ? "present" : "absent");
  report.observe("free_aligned_sized=%s", free_aligned_sized != nullptr ? "present" : "absent");
  report.observe("cfree=%s", cfree != nullptr ? "present" : "absent");
  for (size_t size : {size_t{8}, size_t{100}, size_t{5000}, size_t{1} << 20}) {
    errno = kErrnoBefore;
    if (free_sized != nullptr) {
      free_sized(nullptr, 0);
      free_sized(malloc(size), size);
    }
    if (free_aligned_sized != nullptr) free_aligned_sized(aligned_alloc(64, (size + 63) / 64 * 64), 64, (size + 63) / 64 * 64);
    if (cfree != nullptr) cfree(malloc(size));
    report.expect(errno == kErrnoBefore, "errno %d after frees of %zu", errno, size);
  }
}

void errno_stays(Report &report) {
  for (size_t size = 0; size < 5000000; size += size / 2 + 3) {
    errno = kErrnoBefore;
    void *block = malloc(size);
    report.expect(errno == kErrnoBefore, "malloc(%zu): errno %d", size, errno);
    block = realloc(block, size * 2 + 1);
    report.expect(errno == kErrnoBefore, "realloc to %zu: errno %d", size * 2 + 1, errno);
    void *zeroed = calloc(1, size);
    report.expect(errno == kErrnoBefore, "calloc(1, %zu): errno %d", size, errno);
    free(block);
    free(zeroed);
    report.expect(errno == kErrnoBefore, "free of %zu: errno %d", size, errno);
  }
  errno = kErrnoBefore;
  malloc_trim(0);
  report.observe("malloc_trim=errno %d", errno);
}

bool contains(const char *text, const char *part) { return strstr(text, part) != nullptr; }

void introspection(Report &report) {
  void *small = malloc(100);
  void *large = malloc(3 << 20);
  errno = kErrnoBefore;
  report.observe("mallopt(unknown)=%d errno %d", mallopt(-9999, 1), errno);
  report.observe("mallopt(M_MMAP_THRESHOLD)=%d", mallopt(M_MMAP_THRESHOLD, 1 << 20));
  const struct mallinfo2 wide = mallinfo2();
  report.expect(wide.uordblks + wide.hblkhd >= (3u << 20) + 100, "mallinfo2: uordblks %zu, hblkhd %zu", wide.uordblks, wide.hblkhd);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  const struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop
  report.expect(narrow.arena > 0 || narrow.hblkhd > 0, "mallinfo: arena %d", narrow.arena);
  char *text = nullptr;
  size_t length = 0;
  FILE *stream = open_memstream(&text, &length);
  report.observe("malloc_info(0)=%d", malloc_info(0, stream));
  fclose(stream);
  report.expect(length > 20 && strncmp(text, "<malloc", 7) == 0 && contains(text, "</malloc>"), "malloc_info: %.40s", text);
  free(text);
  report.observe("malloc_info(1)=%d", malloc_info(1, stderr));
  const int keep = dup(2);
  if (freopen("/dev/null", "w", stderr) != nullptr) malloc_stats();
  fflush(stderr);
  dup2(keep, 2);
  close(keep);
  free(small);
  free(large);
}

void other_entries_of_glibc(Report &report) {
  errno = kErrnoBefore;
  void *block = __libc_malloc(100);
  report.expect(block != nullptr && malloc_usable_size(block) >= 100, "__libc_malloc");
  block = realloc(block, 5000);
  free(block);
  block = __libc_calloc(10, 10);
  block = __libc_realloc(block, 1 << 20);
  report.expect(block != nullptr, "__libc_realloc");
  __libc_free(block);
  free(__libc_memalign(4096, 10000));
  __libc_free(malloc(50));
  report.expect(errno == kErrnoBefore, "errno %d", errno);
}

void allocated_by_libc(Report &report) {
  char *copy = strdup("a text that libc copies");
  copy = static_cast<char *>(realloc(copy, 4000));
  report.expect(strcmp(copy, "a text that libc copies") == 0, "strdup");
  free(copy);
  free(strndup("another", 3));
  char *printed = nullptr;
  report.expect(asprintf(&printed, "%d %s", 42, "x") == 4, "asprintf");
  free(printed);
  char *word = nullptr;
  report.expect(sscanf("word rest", "%ms", &word) == 1 && strcmp(word, "word") == 0, "sscanf %%ms");
  free(word);
  char *path = realpath("/usr/..", nullptr);
  report.expect(path != nullptr && strcmp(path, "/") == 0, "realpath");
  free(path);
  char *line = nullptr;
  size_t size = 0;
  FILE *file = fopen("/proc/self/maps", "r");
  while (file != nullptr && getline(&line, &size, file) > 0) {
  }
  if (file != nullptr) fclose(file);
  free(line);
  free(getcwd(nullptr, 0));
}

void sbrk_is_left_alone(Report &report) {
  void *blocks[1000];
  void *before = sbrk(0);
  for (void *&block : blocks) block = malloc(100000);
  const bool moved = sbrk(0) != before;
  for (void *block : blocks) free(block);
  report.observe("the break=%s", moved ? "moved" : "left alone");
}

}  // namespace

const Case other_cases[] = {
    {29, "usable_size", usable_size},
    {30, "free_by_other_names", free_by_other_names},
    {31, "errno_stays", errno_stays},
    {35, "introspection", introspection},
    {36, "other_entries_of_glibc", other_entries_of_glibc},
    {37, "allocated_by_libc", allocated_by_libc},
    {38, "sbrk_is_left_alone", sbrk_is_left_alone},
    {0, nullptr, nullptr},
};

}  // namespace contract
