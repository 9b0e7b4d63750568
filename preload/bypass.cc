// See bypass.h.
#include "preload/bypass.h"

#include "allocator/base/annotations.h"
#include "allocator/base/fatal.h"
#include "allocator/base/options.h"
#include "allocator/base/tls.h"
#include "allocator/heap.h"
#include "preload/entry_points.h"

#include <atomic>
#include <cstdlib>
#include <dlfcn.h>
#include <link.h>

namespace warren::bypass {
namespace {

enum class State : int { kUnknown, kOurs, kTheirs };
std::atomic<State> state{State::kUnknown};  // relaxed: every thread finds the same answer
std::atomic<bool> one_heap{false};          // relaxed: set before the first block that would be judged differently

// A main program that is not position-independent and takes a function's address gives it to everybody:
// its own PLT entry, under an undefined symbol that has a value. That is no definition.
bool is_plt_entry(void *address) {
  Dl_info object;
  void *entry = nullptr;
  if (dladdr1(address, &object, &entry, RTLD_DL_SYMENT) == 0 || entry == nullptr) return false;
  return static_cast<const ElfW(Sym) *>(entry)->st_shndx == SHN_UNDEF;
}

WARREN_COLD bool find_out() {
  const bool ours = is_ours<void *(size_t)>(::malloc, warren_own_malloc) && is_ours<void *(size_t, size_t)>(::calloc, warren_own_calloc) &&
                    is_ours<void *(void *, size_t)>(::realloc, warren_own_realloc) && is_ours<void(void *)>(::free, warren_own_free);
  state.store(ours ? State::kOurs : State::kTheirs, std::memory_order_relaxed);
  return !ours;
}

WARREN_TLS bool looking_up = false;

WARREN_COLD void *look_up(Name name) {
  static constexpr const char *kNames[] = {
#define WARREN_NEXT_NAME(name) #name,
      WARREN_NEXT_FUNCTIONS(WARREN_NEXT_NAME)
#undef WARREN_NEXT_NAME
  };
  looking_up = true;
  void *function = dlsym(RTLD_NEXT, kNames[static_cast<unsigned>(name)]);
  looking_up = false;
  if (function == nullptr) fatal::no_next_function(kNames[static_cast<unsigned>(name)]);
  return function;
}

void *meanwhile_malloc(size_t size) { return allocate<allocate_slow>(size); }
void *meanwhile_calloc(size_t count, size_t size) {
  size_t bytes;
  return __builtin_mul_overflow(count, size, &bytes) ? nullptr : allocate_zeroed(bytes);
}
void meanwhile_free(void *) {}

void *meanwhile(Name name) {
  switch (name) {
    case Name::k_malloc: return reinterpret_cast<void *>(meanwhile_malloc);
    case Name::k_calloc: return reinterpret_cast<void *>(meanwhile_calloc);
    case Name::k_free: return reinterpret_cast<void *>(meanwhile_free);
    default: fatal::no_next_function("any but malloc, calloc and free, inside a look-up");
  }
}

}  // namespace

bool is_ours_address(void *resolved, void *own) {
  void *volatile known = resolved;  // so that no compiler takes the two for the same
  return known == own || is_plt_entry(resolved);
}

bool active() {
  const State known = state.load(std::memory_order_relaxed);
  return known == State::kUnknown ? find_out() : known == State::kTheirs;
}

bool is_foreign(const void *block) {
  enum : uint64_t { kAbort, kForward };
  if (active()) return !owns(block);
  return options.foreign.load(std::memory_order_relaxed) == kForward && block != nullptr && !owns(block) &&
         !one_heap.load(std::memory_order_relaxed);
}

void nothing_is_foreign() { one_heap.store(true, std::memory_order_relaxed); }

void *next_function(Name name) {
  constexpr size_t kNames = static_cast<size_t>(Name::kCount);
  static std::atomic<void *> found[kNames];  // relaxed: every thread finds the same
  std::atomic<void *> &cached = found[static_cast<unsigned>(name)];
  void *function = cached.load(std::memory_order_relaxed);
  if (WARREN_UNLIKELY(function == nullptr)) {
    if (looking_up) return meanwhile(name);
    function = look_up(name);
    cached.store(function, std::memory_order_relaxed);
  }
  return function;
}

}  // namespace warren::bypass
