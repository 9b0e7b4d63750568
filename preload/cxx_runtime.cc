// See cxx_runtime.h.
#include "preload/cxx_runtime.h"

#include "allocator/base/fatal.h"

#include <dlfcn.h>
#include <new>

namespace warren::cxx_runtime {
namespace {

// In the order in which a process would have them. RTLD_NOLOAD finds what is there, however it came.
constexpr const char *kLibraries[] = {"libstdc++.so.6", "libc++abi.so.1", "libc++.so.1"};

void *find_in_libraries(const char *name) {
  for (const char *library : kLibraries) {
    void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) continue;
    void *symbol = dlsym(handle, name);
    dlclose(handle);
    if (symbol != nullptr) return symbol;
  }
  return nullptr;
}

template <class Function>
Function *find(const char *name) {
  void *symbol = dlsym(RTLD_DEFAULT, name);
  if (symbol == nullptr) symbol = find_in_libraries(name);
  return reinterpret_cast<Function *>(symbol);
}

}  // namespace

NewHandler new_handler() {
  auto *get = find<NewHandler()>("_ZSt15get_new_handlerv");
  return get == nullptr ? nullptr : get();
}

void throw_bad_alloc() {
  // libstdc++ has a function for it; with libc++abi the exception is built by hand.
  if (auto *thrower = find<void()>("_ZSt17__throw_bad_allocv")) thrower();
  auto *allocate = find<void *(size_t)>("__cxa_allocate_exception");
  auto *construct = find<void(void *)>("_ZNSt9bad_allocC1Ev");
  auto *destroy = find<void(void *)>("_ZNSt9bad_allocD1Ev");
  auto *type = find<char>("_ZTISt9bad_alloc");
  auto *thrower = find<void(void *, void *, void (*)(void *))>("__cxa_throw");
  if (allocate == nullptr || construct == nullptr || destroy == nullptr || type == nullptr || thrower == nullptr) {
    fatal::no_bad_alloc("operator new failed, and the process has no C++ runtime to throw it");
  }
  void *exception = allocate(sizeof(std::bad_alloc));
  construct(exception);
  thrower(exception, type, destroy);
  __builtin_unreachable();
}

void *nothrow_new(size_t size, size_t align, bool array) {
  if (align == 0) {
    using Plain = void *(size_t, const std::nothrow_t &);
    auto *plain = reinterpret_cast<Plain *>(find_in_libraries(array ? "_ZnamRKSt9nothrow_t" : "_ZnwmRKSt9nothrow_t"));
    return plain == nullptr ? nullptr : plain(size, std::nothrow_t{});
  }
  using Aligned = void *(size_t, std::align_val_t, const std::nothrow_t &);
  const char *name = array ? "_ZnamSt11align_val_tRKSt9nothrow_t" : "_ZnwmSt11align_val_tRKSt9nothrow_t";
  auto *aligned = reinterpret_cast<Aligned *>(find_in_libraries(name));
  return aligned == nullptr ? nullptr : aligned(size, std::align_val_t{align}, std::nothrow_t{});
}

}  // namespace warren::cxx_runtime
