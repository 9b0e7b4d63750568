// wr_call_watched: the stack of the place where an exception was thrown that nobody catches. Caller: the C++ face, for what
// leaves a fiber's function.
//
// Unwinding has two phases. The first looks for a handler, with the stack as it was, and asks each frame's personality
// routine on the way; the second leaves the frames and runs their destructors. wr_call_watched is a frame whose routine
// handles nothing, but notes the stack when the first phase comes by: then nobody within has a handler. Who called it has
// one, and reports after the second phase, so that deferred calls have run.
// Invariant: nothing is noted where something within catches the exception, so that costs what it always did.
#include "include/warren/scheduler_core.h"
#include "scheduler/frames.h"
#include "scheduler/m.h"

#include <cstdlib>
#include <new>
#include <unwind.h>

namespace warren::scheduler {

extern "C" _Unwind_Reason_Code warren_watch_throw(int, _Unwind_Action actions, _Unwind_Exception_Class, _Unwind_Exception *,
                                                  _Unwind_Context *) {
  const M *m = this_m();
  G *g = m != nullptr ? m->current : nullptr;
  if ((actions & _UA_SEARCH_PHASE) == 0 || g == nullptr) return _URC_CONTINUE_UNWIND;
  // The process is about to end: it is not freed, only used again by another exception that comes on top.
  void *memory = g->thrown_at != nullptr ? g->thrown_at : malloc(sizeof(Frames));
  if (memory != nullptr) {
    g->thrown_at = new (memory) Frames;
    frames_here(*g->thrown_at);
  }
  return _URC_CONTINUE_UNWIND;
}

}  // namespace warren::scheduler
