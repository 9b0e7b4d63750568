// Cases 33 and 34: operator new and delete in all their forms. See report.h; run by the C++ victim.
// Invariant: each case frees what it allocates, and leaves no new handler behind.
#include "family.h"
#include "pattern.h"
#include "process_facts.h"
#include "report.h"

#include <new>
#include <sys/resource.h>

namespace contract {
namespace {

using std::align_val_t;
using std::nothrow;

constexpr size_t kDefaultAlign = 16;  // of the forms without an alignment

// Volatile as in family.h. An unaligned form ignores the alignment.
struct NewForm {
  const char *name;
  void *(*volatile make)(size_t size, size_t align);
  bool array, aligned, throws;
};

NewForm new_forms[] = {
    {"new", [](size_t n, size_t) { return ::operator new(n); }, false, false, true},
    {"new[]", [](size_t n, size_t) { return ::operator new[](n); }, true, false, true},
    {"nothrow new", [](size_t n, size_t) { return ::operator new(n, nothrow); }, false, false, false},
    {"nothrow new[]", [](size_t n, size_t) { return ::operator new[](n, nothrow); }, true, false, false},
    {"aligned new", [](size_t n, size_t a) { return ::operator new(n, align_val_t{a}); }, false, true, true},
    {"aligned new[]", [](size_t n, size_t a) { return ::operator new[](n, align_val_t{a}); }, true, true, true},
    {"aligned nothrow new", [](size_t n, size_t a) { return ::operator new(n, align_val_t{a}, nothrow); }, false, true, false},
    {"aligned nothrow new[]", [](size_t n, size_t a) { return ::operator new[](n, align_val_t{a}, nothrow); }, true, true, false},
};

struct DeleteForm {
  const char *name;
  void (*volatile release)(void *block, size_t size, size_t align);
  bool array, aligned;
};

DeleteForm delete_forms[] = {
    {"delete", [](void *p, size_t, size_t) { ::operator delete(p); }, false, false},
    {"delete[]", [](void *p, size_t, size_t) { ::operator delete[](p); }, true, false},
    {"nothrow delete", [](void *p, size_t, size_t) { ::operator delete(p, nothrow); }, false, false},
    {"nothrow delete[]", [](void *p, size_t, size_t) { ::operator delete[](p, nothrow); }, true, false},
    {"sized delete", [](void *p, size_t n, size_t) { ::operator delete(p, n); }, false, false},
    {"sized delete[]", [](void *p, size_t n, size_t) { ::operator delete[](p, n); }, true, false},
    {"aligned delete", [](void *p, size_t, size_t a) { ::operator delete(p, align_val_t{a}); }, false, true},
    {"aligned delete[]", [](void *p, size_t, size_t a) { ::operator delete[](p, align_val_t{a}); }, true, true},
    {"aligned nothrow delete", [](void *p, size_t, size_t a) { ::operator delete(p, align_val_t{a}, nothrow); }, false, true},
    {"aligned nothrow delete[]", [](void *p, size_t, size_t a) { ::operator delete[](p, align_val_t{a}, nothrow); }, true, true},
    {"sized aligned delete", [](void *p, size_t n, size_t a) { ::operator delete(p, n, align_val_t{a}); }, false, true},
    {"sized aligned delete[]", [](void *p, size_t n, size_t a) { ::operator delete[](p, n, align_val_t{a}); }, true, true},
};

// A new handler gives up with an exception of its own.
struct GaveUp : std::bad_alloc {
  const char *what() const noexcept override { return "gave up"; }
};

// What a request ended with: "block", "NULL" or what() of the exception.
const char *outcome_of(const NewForm &form, size_t size, size_t align) {
  static char text[64];
  try {
    void *block = form.make(size, align);
    call::free(block);
    return block != nullptr ? "block" : "NULL";
  } catch (const std::bad_alloc &error) {
    snprintf(text, sizeof text, "%s", error.what());
    return text;
  }
}

void new_fails(Report &report) {
  for (const NewForm &form : new_forms) {
    const char *expected = form.throws ? "std::bad_alloc" : "NULL";
    for (size_t size : {size_t{PTRDIFF_MAX}, size_t{PTRDIFF_MAX} + 1, size_t{PTRDIFF_MAX} + 4097, size_t{3} << 62}) {
      for (size_t align : {size_t{16}, size_t{64}, size_t{4096}, size_t{1} << 20}) {
        const char *outcome = outcome_of(form, size, align);
        report.expect(strcmp(outcome, expected) == 0, "%s(%#zx, %zu): %s", form.name, size, align, outcome);
      }
    }
  }
}

// Sizes that wrap to a small one when they are rounded up to the alignment. Only compared: libstdc++ 12 gives a
// block for the aligned ones, and the table of differences says what is right.
void new_of_wrapping_size(Report &report) {
  for (const NewForm &form : new_forms) {
    for (size_t size : {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX - 40}) {
      for (size_t align : {size_t{64}, size_t{4096}}) report.observe("%s of SIZE_MAX=%s", form.name, outcome_of(form, size, align));
    }
  }
}

int handler_calls = 0;

void new_handler_runs(Report &report) {
  for (const NewForm &form : new_forms) {
    handler_calls = 0;
    std::set_new_handler([] {
      if (++handler_calls >= 3) std::set_new_handler(nullptr);
    });
    const char *outcome = outcome_of(form, SIZE_MAX / 2 + 5, 64);
    report.observe("%s with a handler=%s after %d calls", form.name, outcome, handler_calls);
    report.expect(handler_calls == 3 && strcmp(outcome, form.throws ? "std::bad_alloc" : "NULL") == 0,
                  "%s: %s after %d calls of the handler", form.name, outcome, handler_calls);
    report.expect(std::get_new_handler() == nullptr, "%s: a handler is left", form.name);
  }
}

void new_handler_throws(Report &report) {
  for (const NewForm &form : new_forms) {
    handler_calls = 0;
    const std::new_handler handler = [] {
      ++handler_calls;
      throw GaveUp();
    };
    std::set_new_handler(handler);
    const char *outcome = outcome_of(form, SIZE_MAX / 2 + 5, 64);
    report.observe("%s with a throwing handler=%s after %d calls", form.name, outcome, handler_calls);
    report.expect(handler_calls == 1 && strcmp(outcome, form.throws ? "gave up" : "NULL") == 0,
                  "%s: %s after %d calls of the handler", form.name, outcome, handler_calls);
    report.expect(std::get_new_handler() == handler, "%s: the handler was replaced", form.name);
    report.expect(strcmp(outcome_of(form, 100, 64), "block") == 0 && handler_calls == 1, "%s of 100 bytes", form.name);
  }
  std::set_new_handler(nullptr);
}

// Real scarcity: memory is limited and all of it taken; the handler gives some back, and new tries again.
constexpr size_t kScarceBlock = size_t{8} << 20;
constexpr size_t kScarceBlocks = 256;  // 2 GiB, four times what the limit allows
void *scarce[kScarceBlocks];
size_t scarce_count = 0;

void free_some() {
  if (++handler_calls > 20) std::set_new_handler(nullptr);
  for (int i = 0; i < 4 && scarce_count != 0; ++i) call::free(scarce[--scarce_count]);
}

void new_handler_frees(Report &report) {
  struct rlimit unlimited_data, unlimited_space;
  getrlimit(RLIMIT_DATA, &unlimited_data);
  getrlimit(RLIMIT_AS, &unlimited_space);
  const struct rlimit data = {size_t{512} << 20, unlimited_data.rlim_max};
  const struct rlimit space = {address_space_bytes() + (size_t{512} << 20), unlimited_space.rlim_max};
  setrlimit(RLIMIT_DATA, &data);
  setrlimit(RLIMIT_AS, &space);
  for (const NewForm &form : new_forms) {
    while (scarce_count < kScarceBlocks && (scarce[scarce_count] = call::malloc(kScarceBlock)) != nullptr) ++scarce_count;
    report.expect(scarce_count < kScarceBlocks, "the limit does not bind");
    handler_calls = 0;
    std::set_new_handler(free_some);
    void *block = nullptr;
    try {
      block = form.make(2 * kScarceBlock, 4096);
    } catch (const std::bad_alloc &) {
    }
    std::set_new_handler(nullptr);
    report.expect(block != nullptr && handler_calls >= 1 && handler_calls <= 20, "%s: %p after %d calls of the handler", form.name, block, handler_calls);
    if (block != nullptr) write_pattern(bytes(block), 2 * kScarceBlock, 1);
    call::free(block);
  }
  while (scarce_count != 0) call::free(scarce[--scarce_count]);
  setrlimit(RLIMIT_DATA, &unlimited_data);
  setrlimit(RLIMIT_AS, &unlimited_space);
}

constexpr size_t kSizes[] = {0, 1, 7, 8, 9, 16, 24, 40, 48, 100, 1000, 3000, 5000, 32768, 32769, size_t{1} << 20};

// Every form of new with every form of delete that belongs to it.
void new_in_all_forms(Report &report) {
  for (const NewForm &form : new_forms) {
    for (size_t size : kSizes) {
      for (size_t align = form.aligned ? 1 : kDefaultAlign; align <= (form.aligned ? 65536 : kDefaultAlign); align *= 2) {
        const size_t promised = form.aligned ? align : size > 8 ? kDefaultAlign : 8;
        for (const DeleteForm &release : delete_forms) {
          if (release.array != form.array || release.aligned != form.aligned) continue;
          errno = kErrnoBefore;
          void *block = form.make(size, align), *other = form.make(size, align);
          report.expect(block != nullptr && other != nullptr && block != other, "%s(%zu, %zu) = %p, %p", form.name, size, align, block, other);
          report.expect(aligned_to(block, promised) && aligned_to(other, promised), "%s(%zu, %zu) = %p, %p", form.name, size, align, block, other);
          if (block == nullptr || other == nullptr) return;
          report.expect(call::malloc_usable_size(block) >= size, "usable size of %s(%zu, %zu)", form.name, size, align);
          write_pattern(bytes(block), size, 1);
          write_pattern(bytes(other), size, 2);
          report.expect(has_pattern(bytes(block), size, size, 1), "%s(%zu, %zu) overlaps the next", form.name, size, align);
          release.release(block, size, align);
          report.expect(has_pattern(bytes(other), size, size, 2), "%s of %zu wrote to the next block", release.name, size);
          release.release(other, size, align);
          report.expect(errno == kErrnoBefore, "%s(%zu, %zu), %s: errno %d", form.name, size, align, release.name, errno);
        }
      }
    }
  }
}

void delete_null(Report &report) {
  for (const DeleteForm &form : delete_forms) {
    errno = kErrnoBefore;
    form.release(nullptr, 100, 64);
    form.release(nullptr, 0, 1);
    report.expect(errno == kErrnoBefore, "%s of nullptr: errno %d", form.name, errno);
  }
}

// A program may define some of these operators itself and have the rest from us: each block must be accepted by
// each function, with a size or an alignment that is not its own.
void mixed_pairs(Report &report) {
  constexpr size_t kAlign = 64;
  for (size_t size : kSizes) {
    for (const DeleteForm &release : delete_forms) {
      for (size_t claimed : {size, size / 2, size + 1000, size_t{0}}) {
        for (const NewForm &form : new_forms) release.release(form.make(size, kAlign), claimed, 2 * kAlign);
        for (const Maker &maker : kMakers) {
          void *block = maker.make(size);
          report.expect(block != nullptr, "%s of %zu", maker.name, size);
          release.release(block, claimed, 16);
        }
      }
    }
    auto *free_sized = call::find_free_sized();
    auto *cfree = call::find_cfree();
    for (const NewForm &form : new_forms) {
      call::free(form.make(size, kAlign));
      if (free_sized != nullptr) free_sized(form.make(size, kAlign), size);
      if (cfree != nullptr) cfree(form.make(size, kAlign));
      unsigned char *block = bytes(form.make(size, kAlign));
      write_pattern(block, size, 1);
      block = bytes(call::realloc(block, 2 * size + 1));
      report.expect(block != nullptr && has_pattern(block, size, size, 1), "realloc of %s(%zu)", form.name, size);
      delete_forms[0].release(block, 2 * size + 1, 0);
    }
  }
}

// As all_names_from_one_library, for the operators: theirs is the library of malloc, or libstdc++ throughout.
void operators_from_one_library(Report &report) {
  Dl_info first = {}, other = {};
  for (const char *name : {"_Znwm", "_Znam", "_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t", "_ZnwmSt11align_val_t", "_ZnamSt11align_val_t",
                           "_ZnwmSt11align_val_tRKSt9nothrow_t", "_ZnamSt11align_val_tRKSt9nothrow_t", "_ZdlPv", "_ZdaPv", "_ZdlPvm",
                           "_ZdaPvm", "_ZdlPvRKSt9nothrow_t", "_ZdaPvRKSt9nothrow_t", "_ZdlPvSt11align_val_t", "_ZdaPvSt11align_val_t",
                           "_ZdlPvmSt11align_val_t", "_ZdaPvmSt11align_val_t", "_ZdlPvSt11align_val_tRKSt9nothrow_t",
                           "_ZdaPvSt11align_val_tRKSt9nothrow_t"}) {
    void *symbol = dlsym(RTLD_DEFAULT, name);
    report.expect(symbol != nullptr && dladdr(symbol, &other) != 0, "%s is nowhere", name);
    if (symbol == nullptr) continue;
    if (strcmp(name, "_Znwm") == 0) first = other;
    report.expect(other.dli_fbase == first.dli_fbase, "%s is not where operator new is, but in %s", name, other.dli_fname);
    report.observe("%s=%s", name, other.dli_fbase == first.dli_fbase ? "new's" : "elsewhere");
  }
  dladdr(reinterpret_cast<void *>(call::malloc), &other);
  report.observe("operator new=%s", other.dli_fbase == first.dli_fbase ? "in malloc's library" : "elsewhere");
}

}  // namespace

const Case cxx_cases[] = {
    {33, "new_fails", new_fails},
    {33, "new_of_wrapping_size", new_of_wrapping_size},
    {33, "new_handler_runs", new_handler_runs},
    {33, "new_handler_throws", new_handler_throws},
    {33, "new_handler_frees", new_handler_frees},
    {33, "new_in_all_forms", new_in_all_forms},
    {34, "delete_null", delete_null},
    {34, "mixed_pairs", mixed_pairs},
    {kWhole, "operators_from_one_library", operators_from_one_library},
    {0, nullptr, nullptr},
};

}  // namespace contract
