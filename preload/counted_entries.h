// malloc and operator new straight to their counting halves, in processes that sample from their start to their end.
// The fast paths know nothing of counting and miss first, which costs a counted malloc a third of its instructions. So where the
// option prof or heap_dump is set their first instruction is replaced by a jump, once, before there is a second thread. Where the
// kernel refuses, all works as well, more slowly. Caller: start.cc. Invariant: without those options no instruction is ever written.
#pragma once

#include <cstdint>

namespace warren::counted_entries {

// All of them. From then on sampling counts for ever, also while nobody samples.
void redirect_all();

// Those of malloc.cc, and of new_delete.cc.
void redirect_malloc();
void redirect_new();

void redirect_code(uintptr_t from, uintptr_t to);

template <class From, class To>
void redirect(From *from, To *to) {
  redirect_code(reinterpret_cast<uintptr_t>(from), reinterpret_cast<uintptr_t>(to));
}

}  // namespace warren::counted_entries
