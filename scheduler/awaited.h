// What parked fibers wait for: who could wake them, and the objects through which. Caller:
// inspect/stuck_fibers.cc, in a copy of the process. Invariant: only parked fibers are asked about.
#pragma once

#include "scheduler/g.h"

namespace warren::scheduler {

enum class WokenBy : uint8_t {
  kOthers,  // time, a descriptor, whoever has the G: no object that could be lost
  kObject,  // whoever comes by one of the objects of for_each_awaited
  kNobody,  // nil channels, a select without cases
};
WokenBy woken_by(const G *g);

// The channel, mutex, ...; all channels of a select.
void for_each_awaited(const G *g, void (*visit)(uintptr_t object, void *context), void *context);

// False: it was taken out of its queue, by who is about to make it ready. Asked only about objects that nobody works
// on, which may even have been freed.
bool is_queued(const G *g);

}  // namespace warren::scheduler
