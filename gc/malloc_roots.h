// Live blocks of malloc as roots, when the option malloc_roots says so.
// Caller: the cycle, while the program runs and once more when it stands still.
// Invariant: reads blocks only; the memory of the arena stays mapped, whatever becomes of a block meanwhile.
#pragma once

#include "gc/marker.h"
#include "gc/world.h"

namespace warren::gc::malloc_roots {

void scan(Marker &marker);
void for_each_range(VisitRange visit, void *context);

}  // namespace warren::gc::malloc_roots
