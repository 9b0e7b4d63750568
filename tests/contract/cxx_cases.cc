// Cases 33 and 34: operator new and delete in all their forms. See report.h; run by the C++ victim.
// Invariant: each case frees what it allocates.
#include "report.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <malloc.h>
#include <new>

namespace contract {
namespace {

volatile size_t huge = SIZE_MAX / 2 + 5;  // volatile: the compiler warns of constants
int handler_calls = 0;
void *reserve = nullptr;
void *volatile unused;  // takes results that must not be discarded

void counting_handler() {
  if (++handler_calls >= 3) std::set_new_handler(nullptr);
}

void throwing_handler() {
  ++handler_calls;
  throw std::bad_alloc();
}

template <class Call>
bool throws_bad_alloc(Call call) {
  try {
    call();
  } catch (const std::bad_alloc &) {
    return true;
  }
  return false;
}

void new_fails(Report &report) {
  using std::align_val_t;
  report.expect(throws_bad_alloc([] { unused = ::operator new(huge); }), "new did not throw");
  report.expect(throws_bad_alloc([] { unused = ::operator new[](huge); }), "new[] did not throw");
  report.expect(throws_bad_alloc([] { unused = ::operator new(huge, align_val_t{64}); }), "aligned new did not throw");
  report.expect(throws_bad_alloc([] { unused = ::operator new[](huge, align_val_t{4096}); }), "aligned new[] did not throw");
  report.expect(::operator new(huge, std::nothrow) == nullptr, "nothrow new");
  report.expect(::operator new[](huge, std::nothrow) == nullptr, "nothrow new[]");
  report.expect(::operator new(huge, align_val_t{64}, std::nothrow) == nullptr, "aligned nothrow new");
  report.expect(::operator new[](huge, align_val_t{64}, std::nothrow) == nullptr, "aligned nothrow new[]");
}

void new_handler_runs(Report &report) {
  for (int form = 0; form < 4; ++form) {
    handler_calls = 0;
    std::set_new_handler(counting_handler);
    bool failed = false;
    switch (form) {
      case 0: failed = throws_bad_alloc([] { unused = ::operator new(huge); }); break;
      case 1: failed = ::operator new(huge, std::nothrow) == nullptr; break;
      case 2: failed = throws_bad_alloc([] { unused = ::operator new(huge, std::align_val_t{64}); }); break;
      case 3: failed = ::operator new(huge, std::align_val_t{64}, std::nothrow) == nullptr; break;
    }
    report.expect(failed && handler_calls == 3, "form %d: the handler ran %d times", form, handler_calls);
    handler_calls = 0;
    std::set_new_handler(throwing_handler);
    switch (form) {
      case 0: failed = throws_bad_alloc([] { unused = ::operator new(huge); }); break;
      case 1: failed = ::operator new(huge, std::nothrow) == nullptr; break;
      case 2: failed = throws_bad_alloc([] { unused = ::operator new(huge, std::align_val_t{64}); }); break;
      case 3: failed = ::operator new(huge, std::align_val_t{64}, std::nothrow) == nullptr; break;
    }
    report.expect(failed && handler_calls == 1, "form %d: the throwing handler ran %d times", form, handler_calls);
    std::set_new_handler(nullptr);
  }
}

void new_in_all_forms(Report &report) {
  using std::align_val_t;
  for (size_t size : {size_t{0}, size_t{1}, size_t{8}, size_t{100}, size_t{3000}, size_t{1} << 20}) {
    void *plain = ::operator new(size);
    void *array = ::operator new[](size);
    void *again = ::operator new(size, std::nothrow);
    report.expect(plain != nullptr && array != nullptr && again != nullptr && plain != array, "new(%zu)", size);
    report.expect(aligned_to(plain, size > 8 ? 16 : 8), "new(%zu) = %p", size, plain);
    memset(plain, 1, size);
    ::operator delete(plain);
    ::operator delete[](array);
    ::operator delete(again, std::nothrow);
    ::operator delete(::operator new(size), size);
    ::operator delete[](::operator new[](size), size);
    for (size_t align : {size_t{16}, size_t{32}, size_t{64}, size_t{4096}}) {
      void *block = ::operator new(size, align_val_t{align});
      report.expect(block != nullptr && aligned_to(block, align), "new(%zu, %zu) = %p", size, align, block);
      ::operator delete(block, align_val_t{align});
      ::operator delete(::operator new(size, align_val_t{align}), size, align_val_t{align});
      ::operator delete[](::operator new[](size, align_val_t{align}), align_val_t{align});
      ::operator delete[](::operator new[](size, align_val_t{align}), size, align_val_t{align});
      ::operator delete(::operator new(size, align_val_t{align}, std::nothrow), align_val_t{align}, std::nothrow);
      ::operator delete[](::operator new[](size, align_val_t{align}, std::nothrow), align_val_t{align}, std::nothrow);
    }
  }
  ::operator delete(reserve);  // nullptr
  ::operator delete[](reserve, std::align_val_t{64});
}

// Programs define some of these operators themselves and mix them with malloc: accepted.
void mixed_pairs(Report &report) {
  for (size_t size : {size_t{1}, size_t{100}, size_t{5000}, size_t{1} << 20}) {
    free(::operator new(size));
    free(::operator new[](size));
    ::operator delete(malloc(size));
    ::operator delete[](malloc(size));
    ::operator delete(::operator new[](size));
    ::operator delete[](::operator new(size));
    ::operator delete(::operator new(size), size + 1000);  // a wrong size
    void *block = realloc(::operator new(size), 2 * size);
    report.expect(block != nullptr && malloc_usable_size(block) >= 2 * size, "realloc of new(%zu)", size);
    ::operator delete(block);
  }
}

}  // namespace

const Case cxx_cases[] = {
    {33, "new_fails", new_fails},
    {33, "new_handler_runs", new_handler_runs},
    {33, "new_in_all_forms", new_in_all_forms},
    {34, "mixed_pairs", mixed_pairs},
    {0, nullptr, nullptr},
};

}  // namespace contract
