// What tools that follow a program's stacks are told of fibers: ThreadSanitizer, AddressSanitizer, valgrind. In an
// ordinary build all of it is empty. Callers: switch.cc, fiber.cc, kernel_threads.cc, stack.cc.
// Invariant: between leave() and the other stack's arrive() nothing runs but warren_switch().
//
// The sanitizers come with their builds (meson's b_sanitize), valgrind with the option `valgrind`.
#pragma once

#include <cstddef>

#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define WARREN_TSAN 1
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define WARREN_ASAN 1
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WARREN_VALGRIND
#include <valgrind/valgrind.h>
#endif

namespace warren::scheduler {

// Of one stack, a fiber's or a thread's own.
struct ToolStack {
#ifdef WARREN_TSAN
  // Made when the stack first runs, for there may be some 8000 at a time, and kept for the next fiber, for it is slow to
  // make. Frames of fibers that have ended stay in it, so it does not last for ever.
  void *context = nullptr;
  unsigned uses = 0;
#endif
#ifdef WARREN_ASAN
  void *fake = nullptr;  // what the tool wants back on arrival
  const void *low = nullptr;
  size_t bytes = 0;
#endif
};

namespace stack_tools {

// Whether they must be told of a fiber's end when it is no longer on its stack.
#if defined(WARREN_TSAN) || defined(WARREN_ASAN)
inline constexpr bool kFollowEnds = true;
#else
inline constexpr bool kFollowEnds = false;
#endif

// Whether a fiber's fields may be looked at while it runs, for a hint: to ThreadSanitizer that is a race.
#ifdef WARREN_TSAN
inline constexpr bool kMayPeek = false;
#else
inline constexpr bool kMayPeek = true;
#endif

// Whether what others wait for may be stored by instructions that the tool does not see.
inline constexpr bool kMayHideStores = kMayPeek;

// The calling thread's own stack.
inline void thread_starts([[maybe_unused]] ToolStack &own) {
#ifdef WARREN_TSAN
  own.context = __tsan_get_current_fiber();
#endif
#ifdef WARREN_ASAN
  pthread_attr_t attributes;
  void *low = nullptr;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  pthread_attr_getstack(&attributes, &low, &own.bytes);
  pthread_attr_destroy(&attributes);
  own.low = low;
#endif
}

// A fiber is made on the stack [low, high).
inline void fiber_made([[maybe_unused]] ToolStack &stack, [[maybe_unused]] char *low,
                       [[maybe_unused]] const void *high) {
#ifdef WARREN_ASAN
  stack.fake = nullptr;
  stack.low = low;
  stack.bytes = static_cast<size_t>(static_cast<const char *>(high) - low);
#endif
}

// Its memory goes back to the system.
inline void stack_given_back([[maybe_unused]] ToolStack &stack) {
#ifdef WARREN_TSAN
  if (stack.context != nullptr) __tsan_destroy_fiber(stack.context);
  stack = {};
#endif
}

// It has ended and another stack runs. The frames above sp have not returned and never will.
inline void fiber_ended([[maybe_unused]] ToolStack &stack, [[maybe_unused]] const void *sp) {
#ifdef WARREN_TSAN
  constexpr unsigned kMostUses = 500;
  if (++stack.uses == kMostUses) stack_given_back(stack);
#endif
#ifdef WARREN_ASAN
  const char *high = static_cast<const char *>(stack.low) + stack.bytes;
  __asan_unpoison_memory_region(sp, static_cast<size_t>(high - static_cast<const char *>(sp)));
#endif
}

[[gnu::always_inline]] inline void leave([[maybe_unused]] ToolStack &from, [[maybe_unused]] ToolStack &to,
                                         [[maybe_unused]] bool for_good) {
#ifdef WARREN_ASAN
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake, to.low, to.bytes);
#endif
#ifdef WARREN_TSAN
  if (to.context == nullptr) to.context = __tsan_create_fiber(0);
  __tsan_switch_to_fiber(to.context, 0);
#endif
}

[[gnu::always_inline]] inline void arrive([[maybe_unused]] ToolStack &here) {
#ifdef WARREN_ASAN
  __sanitizer_finish_switch_fiber(here.fake, nullptr, nullptr);
#endif
}

// Stacks are never unmapped, so there is no end to tell of.
inline void stack_made([[maybe_unused]] char *low, [[maybe_unused]] char *high) {
#ifdef WARREN_VALGRIND
  [[maybe_unused]] const unsigned id = VALGRIND_STACK_REGISTER(low, high);
#endif
}

}  // namespace stack_tools
}  // namespace warren::scheduler
