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

constexpr size_t kForms = 4;
constexpr const char *kNothrowNew[kForms] = {"_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t", "_ZnwmSt11align_val_tRKSt9nothrow_t",
                                             "_ZnamSt11align_val_tRKSt9nothrow_t"};
void *found_at_start[kForms];  // before there are threads; what comes later may go again, and is looked up each time

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

void find_nothrow_new() {
  // Those there would be without this library. Not by dlopen: in a constructor before libc's it runs the others', libc's among
  // them, without an environment.
  for (size_t i = 0; i < kForms; ++i) found_at_start[i] = dlsym(RTLD_NEXT, kNothrowNew[i]);
}

bool nothrow_new(size_t size, size_t align, bool array, void **block) {
  const size_t form = (align == 0 ? size_t{0} : size_t{2}) + (array ? 1 : 0);
  void *function = found_at_start[form];
  if (function == nullptr) function = find_in_libraries(kNothrowNew[form]);
  if (function == nullptr) return false;
  const std::nothrow_t quiet{};
  if (align == 0) {
    *block = reinterpret_cast<void *(*)(size_t, const std::nothrow_t &)>(function)(size, quiet);
  } else {
    *block = reinterpret_cast<void *(*)(size_t, std::align_val_t, const std::nothrow_t &)>(function)(size, std::align_val_t{align}, quiet);
  }
  return true;
}

}  // namespace warren::cxx_runtime
