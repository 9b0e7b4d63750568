// See exceptions.h.
#include "scheduler/exceptions.h"

#include <dlfcn.h>

extern "C" {
// Weak: bound where the program itself is linked with a C++ runtime, statically too.
__attribute__((weak, visibility("default"))) void *__cxa_get_globals();
}

namespace warren::scheduler {

ExceptionState *thread_exceptions() {
  auto *get = &__cxa_get_globals;
  if (get == nullptr) get = reinterpret_cast<void *(*)()>(dlsym(RTLD_DEFAULT, "__cxa_get_globals"));
  return get == nullptr ? nullptr : static_cast<ExceptionState *>(get());
}

}  // namespace warren::scheduler
