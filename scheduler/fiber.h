// The beginning and the end of fibers. Callers: the C ABI, run.cc (the main fiber), switch.cc (what is left of an ended
// one).
// Invariant: an ended fiber's stack is handed on only when nobody runs on it.
#pragma once

#include "scheduler/state.h"

namespace warren::scheduler {

// A fiber that is ready to be put into a queue; nullptr: no stack. The M may be nullptr (a plain thread). `room`: so many
// bytes on its stack, a multiple of 16, are kept free above its first frame, and are its argument.
G *make_fiber(M *m, void (*entry)(void *argument), void *argument, size_t room, unsigned order, const char *name);

// The other side of the last switch of an ended fiber.
void finish_end(M *m, G *g);

// For a fiber whose M has lost its P: returns with one, on an M that may be another.
M *regain_p(M *m);

}  // namespace warren::scheduler
