// See frames.h.
#include "scheduler/frames.h"

#include "scheduler/context.h"

#include <dlfcn.h>
#include <unwind.h>

namespace warren::scheduler {
namespace {

using Backtrace = _Unwind_Reason_Code(_Unwind_Trace_Fn, void *);
using GetIp = _Unwind_Ptr(_Unwind_Context *, int *);

Backtrace *backtrace = nullptr;
GetIp *get_ip = nullptr;

_Unwind_Reason_Code add_frame(_Unwind_Context *context, void *argument) {
  auto *frames = static_cast<Frames *>(argument);
  int before_instruction = 0;
  const uintptr_t ip = get_ip(context, &before_instruction);
  if (ip == 0) return _URC_END_OF_STACK;
  if (frames->count == Frames::kMost) {
    frames->more = true;
    return _URC_END_OF_STACK;
  }
  frames->address[frames->count++] = ip - (before_instruction != 0 ? 0 : 1);
  return _URC_NO_REASON;
}

void unwind(void *frames) {
  if (backtrace != nullptr) backtrace(add_frame, frames);
}

}  // namespace

void find_unwinder() {
  if (backtrace != nullptr) return;
  void *library = dlopen("libgcc_s.so.1", RTLD_LAZY);
  if (library == nullptr) return;
  auto *walk = reinterpret_cast<Backtrace *>(dlsym(library, "_Unwind_Backtrace"));
  auto *ip = reinterpret_cast<GetIp *>(dlsym(library, "_Unwind_GetIPInfo"));
  if (walk == nullptr || ip == nullptr) return;
  get_ip = ip;
  backtrace = walk;
  // The first call loads and sorts what later ones only read.
  Frames frames;
  frames_here(frames);
}

void frames_here(Frames &frames) { unwind(&frames); }

void frames_of_saved(const G *g, Frames &frames) { warren_call_on_saved(g->sp, unwind, &frames); }

}  // namespace warren::scheduler
