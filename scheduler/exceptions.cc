// See exceptions.h.
#include "scheduler/exceptions.h"

#include <dlfcn.h>

extern "C" {
// Weak: bound where the program, or what it is linked with, has a C++ runtime; also one linked statically, which dlsym
// does not find.
__attribute__((weak, visibility("default"))) void *__cxa_get_globals();
}

namespace warren::scheduler {
namespace {

using GetGlobals = void *();

GetGlobals *find() {
  GetGlobals *bound = &__cxa_get_globals;
  if (bound != nullptr) return bound;
  if (void *symbol = dlsym(RTLD_DEFAULT, "__cxa_get_globals")) return reinterpret_cast<GetGlobals *>(symbol);
  // Brought along privately, by dlopen without RTLD_GLOBAL.
  for (const char *library : {"libstdc++.so.6", "libc++abi.so.1", "libc++.so.1"}) {
    void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) continue;
    void *symbol = dlsym(handle, "__cxa_get_globals");
    dlclose(handle);
    if (symbol != nullptr) return reinterpret_cast<GetGlobals *>(symbol);
  }
  return nullptr;
}

}  // namespace

ExceptionState *thread_exceptions() {
  auto *get = find();
  return get == nullptr ? nullptr : static_cast<ExceptionState *>(get());
}

}  // namespace warren::scheduler
