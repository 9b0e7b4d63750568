// System calls that the stop signal has cut short. Most the kernel starts again by itself (SA_RESTART); those it never does are made again
// by whoever made them, when nobody but the collector has ended them.
// Callers: threads.cc (in the handler); preload/waiting_calls.cc.
// Invariant: what is noted is of the calling thread alone, written in its handler.
#pragma once

#include "allocator/base/annotations.h"
#include "allocator/base/tls.h"

#include <cstdint>

namespace warren::gc::cut_calls {

// What the handler leaves to the thread that it ran in.
struct Left {
  uint64_t number;    // of cut calls: grows with each
  uintptr_t sp;       // the stack pointer in the last, so that one made by a handler of the program's is not taken for the one below it
  uint64_t deferred;  // threads.cc: what the signal carried that came inside the stop gate. Here: each variable costs a relocation
};
extern WARREN_TLS Left left;

// The last thing in the handler: what happened after the kernel's decision to deliver it belongs to the call as well. A call is not noted
// when a signal of the program's is to be delivered now that ours returns: that one has cut it short, too.
void note(const void *context);

// Whether it was a call made by the function with this frame, or by one of libc's that it has called. A handler's frame is longer.
inline bool is_of(const void *frame) {
  constexpr uintptr_t kLongest = 1024;
  const auto top = reinterpret_cast<uintptr_t>(frame);
  return left.sp < top && top - left.sp < kLongest;
}

}  // namespace warren::gc::cut_calls
