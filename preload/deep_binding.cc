// See deep_binding.h.
#include "preload/deep_binding.h"

#include "allocator/base/annotations.h"
#include "preload/bypass.h"
#include "preload/redirect.h"

#include <atomic>
#include <cstdlib>
#include <dlfcn.h>
#include <malloc.h>

namespace warren::deep_binding {
namespace {

// What the loader found for the process, under each of the names. Two of them may be one function of libc (memalign and
// aligned_alloc are): the later one's jump stays. mallinfo2 comes last, for untouched().
struct Function {
  const char *name;
  void *of_process;
};
#define WARREN_FUNCTION(name) Function{#name, reinterpret_cast<void *>(::name)}
const Function kFunctions[] = {
    WARREN_FUNCTION(malloc), WARREN_FUNCTION(calloc), WARREN_FUNCTION(realloc), WARREN_FUNCTION(free),
    WARREN_FUNCTION(reallocarray), WARREN_FUNCTION(posix_memalign), WARREN_FUNCTION(aligned_alloc), WARREN_FUNCTION(memalign),
    WARREN_FUNCTION(valloc), WARREN_FUNCTION(pvalloc), WARREN_FUNCTION(malloc_usable_size), WARREN_FUNCTION(malloc_trim),
    WARREN_FUNCTION(mallopt), WARREN_FUNCTION(malloc_stats), WARREN_FUNCTION(malloc_info), WARREN_FUNCTION(mallinfo2)};
#undef WARREN_FUNCTION
constexpr size_t kCount = sizeof kFunctions / sizeof *kFunctions;

// No lock: a thread may come here from a constructor with the loader's lock, which the look-ups wait for. Two at once
// write the same; should the later one take libc's heap for used, because its mallinfo2 is ours by then, the flag goes for nothing.
enum class State : int { kUnknown, kJumps, kImpossible };
std::atomic<State> state{State::kUnknown};  // release with what libc's functions have become, acquire before they are used

bool untouched(void *mallinfo_of_libc) {
  const struct mallinfo2 of_libc = reinterpret_cast<struct mallinfo2 (*)()>(mallinfo_of_libc)();
  return of_libc.arena == 0 && of_libc.hblkhd == 0;
}

bool redirect_libc() {
  void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
  if (libc == nullptr) return false;
  Redirection::Jump jumps[kCount];
  for (size_t i = 0; i < kCount; ++i) {
    void *of_libc = dlsym(libc, kFunctions[i].name);
    if (of_libc == nullptr || of_libc == kFunctions[i].of_process) return false;
    jumps[i] = {of_libc, kFunctions[i].of_process};
  }
  if (!untouched(jumps[kCount - 1].from)) return false;
  Redirection redirection;
  if (!redirection.is_possible() || !redirection.jump_all(jumps, kCount)) return false;
  bypass::nothing_is_foreign();
  return true;
}

WARREN_COLD State prepare() {
  const State found = redirect_libc() ? State::kJumps : State::kImpossible;
  State before = State::kUnknown;
  return state.compare_exchange_strong(before, found, std::memory_order_acq_rel, std::memory_order_acquire) ? found : before;
}

int allowed(int mode) {
  if (bypass::active()) return mode;  // the heap of the process is not ours
  State known = state.load(std::memory_order_acquire);
  if (known == State::kUnknown) known = prepare();
  return known == State::kJumps ? mode : mode & ~RTLD_DEEPBIND;
}

}  // namespace
}  // namespace warren::deep_binding

using warren::deep_binding::Call;

Call warren_before_dlopen(int mode) {
  static std::atomic<decltype(Call::open)> next{nullptr};  // relaxed: every thread finds the same
  auto *open = next.load(std::memory_order_relaxed);
  if (open == nullptr) {
    open = reinterpret_cast<decltype(Call::open)>(dlsym(RTLD_NEXT, "dlopen"));
    next.store(open, std::memory_order_relaxed);
  }
  return {open, (mode & RTLD_DEEPBIND) == 0 ? mode : warren::deep_binding::allowed(mode)};
}
