// malloc, calloc, realloc and operator new straight to their counting halves, in processes that sample from start to end.
// The fast paths know nothing of counting and miss first, which costs a counted malloc a third of its instructions. So where the
// option prof or heap_dump is set they become jumps. Where the kernel refuses, all works as well, more slowly. Caller: start.cc.
// Invariant: without those options no instruction is written for this.
#pragma once

namespace warren {
class Redirection;
}

namespace warren::counted_entries {

// All of them. From then on sampling counts for ever, also while nobody samples.
void redirect_all();

// Those of malloc.cc, and of new_delete.cc.
void redirect_malloc(Redirection &redirection);
void redirect_new(Redirection &redirection);

}  // namespace warren::counted_entries
