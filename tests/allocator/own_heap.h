// Runs the body of a test with a heap that nobody has used, in a process of its own (own_process.h).
// Included by this directory's tests. Invariant: the heap is set up before the body, and all its pages are walked after it (page_walk.h).
#pragma once

#include "allocator/heap.h"
#include "tests/allocator/own_process.h"
#include "tests/allocator/page_walk.h"

namespace warren {

template <class Body>
void in_own_heap(Body body) {
  in_own_process([&] {
    ASSERT_TRUE(heap::set_up());
    body();
    walk_pages();
  });
}

}  // namespace warren
