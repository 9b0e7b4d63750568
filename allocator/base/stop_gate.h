// A gate for whoever stops threads (the collector): a thread inside it holds one of the heap's locks, or is halfway
// through a change that must look whole, and is stopped when it leaves. So the collector may take any lock of the heap
// while the program stands still.
// Callers: every Mutex of a rank below kWorld; the collector's slow paths; inspect/. The handler that stops a thread looks at
// `inside` and asks.
// Invariant: no thread waits inside for anything but a lock whose holder is inside as well.
#pragma once

#include "allocator/base/tls.h"

#include <cstdint>

namespace warren::stop_gate {

// How deep this thread is inside, doubled, plus 1 when somebody waits for it to come out.
extern WARREN_TLS uint32_t inside;

// Stops this thread, that was asked to while it was inside. Set before the first thread is asked.
extern void (*stop_here)();
void stop_now();

// One instruction each, so that a signal comes before or after it.
inline void enter() { asm volatile("addl $2, %0" : "+m"(inside) : : "cc", "memory"); }
inline void leave() {
  asm volatile("subl $2, %0" : "+m"(inside) : : "cc", "memory");
  if (__builtin_expect(inside == 1, 0)) stop_now();
}

class Inside {
 public:
  Inside() { enter(); }
  ~Inside() { leave(); }
  Inside(const Inside &) = delete;
  Inside &operator=(const Inside &) = delete;
};

}  // namespace warren::stop_gate
