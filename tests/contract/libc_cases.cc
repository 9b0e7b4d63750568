// Case 36, and the family as a whole: glibc's other names, functions that allocate for their caller, and that
// all names come from one library. See report.h; run by victim.cc. Invariant: each case frees what it allocates.
#include "family.h"
#include "pattern.h"
#include "report.h"

#include <cstdlib>
#include <cwchar>
#include <dirent.h>
#include <netdb.h>
#include <regex.h>
#include <sys/socket.h>
#include <unistd.h>

namespace contract {
namespace {

// A block from one of glibc's names is a block like any other.
void expect_ordinary(Report &report, const char *name, void *block, size_t size, size_t align) {
  report.observe_block(name, block, align);
  report.expect(block != nullptr && aligned_to(block, align) && errno == kErrnoBefore, "%s: %p, errno %d", name, block, errno);
  if (block == nullptr) return;
  report.expect(call::malloc_usable_size(block) >= size, "%s: usable size %zu", name, call::malloc_usable_size(block));
  write_pattern(bytes(block), size, 1);
  block = call::realloc(block, size + 5000);
  report.expect(block != nullptr && has_pattern(bytes(block), size, size, 1), "realloc of %s", name);
  call::free(block);
  errno = kErrnoBefore;
}

void other_entries_of_glibc(Report &report) {
  errno = kErrnoBefore;
  for (size_t size : {size_t{1}, size_t{100}, size_t{5000}, size_t{1} << 20}) {
    expect_ordinary(report, "__libc_malloc", call::libc_malloc(size), size, size > 8 ? 16 : 8);
    expect_ordinary(report, "__libc_calloc", call::libc_calloc(size, 1), size, size > 8 ? 16 : 8);
    expect_ordinary(report, "__libc_realloc(NULL)", call::libc_realloc(nullptr, size), size, size > 8 ? 16 : 8);
    expect_ordinary(report, "__libc_realloc", call::libc_realloc(call::malloc(10), size), size, size > 8 ? 16 : 8);
    expect_ordinary(report, "__libc_memalign", call::libc_memalign(256, size), size, 256);
    expect_ordinary(report, "__libc_valloc", call::libc_valloc(size), size, kOsPage);
    expect_ordinary(report, "__libc_pvalloc", call::libc_pvalloc(size), size, kOsPage);
    for (const Maker &maker : kMakers) call::libc_free(maker.make(size));
    report.expect(errno == kErrnoBefore, "errno %d after __libc_free", errno);
  }
  const auto expect_no_memory = [&](const char *name, void *block) {
    report.observe_block(name, block, 1);
    report.expect(block == nullptr && errno == ENOMEM, "%s of SIZE_MAX: %p, errno %d", name, block, errno);
    errno = kErrnoBefore;
  };
  expect_no_memory("huge __libc_malloc", call::libc_malloc(SIZE_MAX));
  expect_no_memory("huge __libc_calloc", call::libc_calloc(SIZE_MAX, 2));
  expect_no_memory("huge __libc_realloc", call::libc_realloc(nullptr, SIZE_MAX));
  expect_no_memory("huge __libc_memalign", call::libc_memalign(64, SIZE_MAX));
  expect_no_memory("huge __libc_valloc", call::libc_valloc(SIZE_MAX));
  expect_no_memory("huge __libc_pvalloc", call::libc_pvalloc(SIZE_MAX));
}

// Texts that libc returns: ours to measure, to grow and to free.
void expect_text(Report &report, const char *name, char *text, const char *expected) {
  report.expect(text != nullptr && strcmp(text, expected) == 0, "%s: %s", name, text == nullptr ? "NULL" : text);
  if (text == nullptr) return;
  report.expect(call::malloc_usable_size(text) > strlen(text), "%s: usable size %zu", name, call::malloc_usable_size(text));
  text = static_cast<char *>(call::realloc(text, 4000));
  report.expect(text != nullptr && strcmp(text, expected) == 0, "realloc of %s", name);
  call::free(text);
}

void texts_of_libc(Report &report) {
  expect_text(report, "strdup", strdup("a text that libc copies"), "a text that libc copies");
  expect_text(report, "strndup", strndup("another", 3), "ano");
  char *text = nullptr;
  report.expect(asprintf(&text, "%d %s", 42, "x") == 4, "asprintf");
  expect_text(report, "asprintf", text, "42 x");
  text = nullptr;
  report.expect(asprintf(&text, "%*d", 50000, 1) == 50000, "a long asprintf");
  call::free(text);
  text = nullptr;
  report.expect(sscanf("word rest", "%ms", &text) == 1, "sscanf %%ms");
  expect_text(report, "sscanf %ms", text, "word");
  text = nullptr;
  report.expect(sscanf("abc123", "%m[a-c]", &text) == 1, "sscanf %%m[");
  expect_text(report, "sscanf %m[", text, "abc");
  expect_text(report, "realpath", realpath("/usr/..", nullptr), "/");
  report.expect(chdir("/") == 0, "chdir");
  expect_text(report, "getcwd", getcwd(nullptr, 0), "/");
  expect_text(report, "get_current_dir_name", get_current_dir_name(), "/");
  wchar_t *wide = wcsdup(L"wide");
  report.expect(wide != nullptr && wcscmp(wide, L"wide") == 0 && call::malloc_usable_size(wide) >= 5 * sizeof(wchar_t), "wcsdup");
  call::free(wide);
}

void streams_of_libc(Report &report) {
  char *line = nullptr;
  size_t size = 0, lines = 0;
  FILE *file = fopen("/proc/self/maps", "r");
  report.expect(file != nullptr, "fopen");
  while (file != nullptr && getline(&line, &size, file) > 0) ++lines;
  report.expect(lines > 3 && call::malloc_usable_size(line) >= size, "getline: %zu lines, %zu bytes", lines, size);
  // A buffer of the caller's, from the allocator, that getdelim has to grow.
  call::free(line);
  line = static_cast<char *>(call::malloc(1));
  size = 1;
  if (file != nullptr) rewind(file);
  report.expect(file != nullptr && getdelim(&line, &size, '\0', file) > 100 && size > 100, "getdelim grows to %zu", size);
  call::free(line);
  if (file != nullptr) fclose(file);
  char *text = nullptr;
  FILE *stream = open_memstream(&text, &size);
  for (int i = 0; stream != nullptr && i < 20000; ++i) fprintf(stream, "%d\n", i % 10);
  report.expect(stream != nullptr && fclose(stream) == 0 && size == 40000 && strlen(text) == size, "open_memstream: %zu bytes", size);
  call::free(text);
}

void lists_of_libc(Report &report) {
  struct dirent **entries = nullptr;
  const int count = scandir("/proc/self", &entries, nullptr, alphasort);
  report.expect(count > 5, "scandir: %d", count);
  for (int i = 0; i < count; ++i) call::free(entries[i]);
  call::free(entries);
  struct addrinfo hints = {}, *addresses = nullptr;
  hints.ai_flags = AI_NUMERICHOST;
  hints.ai_socktype = SOCK_STREAM;
  report.expect(getaddrinfo("127.0.0.1", "80", &hints, &addresses) == 0 && addresses != nullptr, "getaddrinfo");
  if (addresses != nullptr) freeaddrinfo(addresses);
  regex_t regex;
  report.expect(regcomp(&regex, "^(a|b)*c+$", REG_EXTENDED) == 0 && regexec(&regex, "ababcc", 0, nullptr, 0) == 0, "regcomp");
  regfree(&regex);
  // setenv copies; putenv takes a block that the program owns.
  report.expect(setenv("CONTRACT_PROBE", "1", 1) == 0 && setenv("CONTRACT_PROBE", "a longer value", 1) == 0, "setenv");
  char *pair = strdup("CONTRACT_PROBE=put");
  report.expect(putenv(pair) == 0 && strcmp(getenv("CONTRACT_PROBE"), "put") == 0, "putenv");
  unsetenv("CONTRACT_PROBE");
  call::free(pair);
}

// A mix of two heaps is what breaks a drop-in: each name must come from the object that malloc comes from.
void all_names_from_one_library(Report &report) {
  Dl_info home = {}, other = {};
  report.expect(dladdr(reinterpret_cast<void *>(call::malloc), &home) != 0, "malloc is nowhere");
  for (const char *name : {"calloc", "realloc", "free", "reallocarray", "posix_memalign", "aligned_alloc", "memalign", "valloc",
                           "pvalloc", "malloc_usable_size", "malloc_trim", "mallinfo", "mallinfo2", "mallopt", "malloc_stats",
                           "malloc_info", "__libc_malloc", "__libc_calloc", "__libc_realloc", "__libc_free", "__libc_memalign",
                           "__libc_valloc", "__libc_pvalloc", "cfree", "free_sized", "free_aligned_sized"}) {
    void *symbol = dlsym(RTLD_DEFAULT, name);
    const char *place = "absent";
    if (symbol != nullptr) place = dladdr(symbol, &other) != 0 && other.dli_fbase == home.dli_fbase ? "malloc's" : "elsewhere";
    report.observe("library of %s=%s", name, place);
    report.expect(symbol == nullptr || other.dli_fbase == home.dli_fbase, "%s is not where malloc is, but in %s", name, other.dli_fname);
  }
}

// Not one byte from glibc's main heap, which lies on the break.
void sbrk_is_left_alone(Report &report) {
  constexpr size_t kBlocks = 1000;
  static void *blocks[kBlocks];
  void *before = sbrk(0);
  for (void *&block : blocks) block = call::malloc(100000);
  for (void *block : blocks) call::free(block);
  for (size_t size : kClasses) call::free(call::malloc(size));
  call::free(strdup("text"));
  const bool moved = sbrk(0) != before;
  report.expect(!moved || getenv("WARREN_CONTROL") != nullptr, "the break moved");
}

}  // namespace

const Case libc_cases[] = {
    {36, "other_entries_of_glibc", other_entries_of_glibc},
    {36, "texts_of_libc", texts_of_libc},
    {36, "streams_of_libc", streams_of_libc},
    {36, "lists_of_libc", lists_of_libc},
    {36, "sbrk_is_left_alone", sbrk_is_left_alone},
    {kWhole, "all_names_from_one_library", all_names_from_one_library},
    {0, nullptr, nullptr},
};

}  // namespace contract
