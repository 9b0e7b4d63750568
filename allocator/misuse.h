// Finding out what is wrong with a pointer that is no live block, and saying so.
// Callers: heap_slow.cc, realloc.cc. Invariant: returns only with abort_on_error=0, having changed nothing.
#pragma once

namespace warren::misuse {

void report(const char *function, const void *pointer);

}  // namespace warren::misuse
