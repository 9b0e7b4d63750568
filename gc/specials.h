// What is kept of single objects beside their bits: finalizers and weak references.
// A table by the page on which the object's span starts, each entry a record in metadata.
//
// Order at the end of marking: weak references to objects that are not marked are cleared; then the unmarked objects
// with a finalizer are marked, so that this cycle spares them, and their finalizers queued. What such an object refers to was
// marked with everything else, as if the object were a root that is not itself marked: so of two objects that refer to one another
// in a row the first is finalized first, and of a ring with finalizers none ever is (Go's rule).
//
// Callers: the C ABI, the marker (roots), the cycle. Guarded by one lock.
// Invariant: a record's object is allocated; records go when their object does.
#pragma once

#include "gc/page_tags.h"
#include "gc/world.h"

namespace warren::gc {

class Marker;

using Finalizer = void (*)(void *object, void *argument);

namespace specials {

// `slot` is of a live object, or its `object` is the address of one of several in a block. 0, EEXIST, ENOMEM. No
// function: removes.
int set_finalizer(const Slot &slot, Finalizer function, void *argument);

// A value that names the object until it dies; 0: no memory.
uint64_t make_weak(const Slot &slot);
// The object, or 0. Once it has answered 0 it always will.
uintptr_t get_weak(uint64_t weak);

// An object is released by hand: its records go.
void forget(const Slot &slot);

// Marking: what finalizers keep alive, and what an object with one refers to.
void scan_roots(Marker &marker);
void for_each_marking_root(VisitRange visit, void *context);  // the same, word by word and object by object
void scan_contents_on(const Span *span, uintptr_t low, uintptr_t high, Marker &marker);  // what of it lies in [low, high)

// After marking, before anything is swept: clears weak references, queues finalizers.
void settle();

// The next finalizer to run; false: none. The caller's copy must lie on its stack: nothing else refers to the object then.
struct Ready {
  uintptr_t object;
  Finalizer function;
  void *argument;
};
bool take_ready(Ready &ready);
bool any_ready();

void lock_for_fork();
void unlock_after_fork(bool in_child);

}  // namespace specials
}  // namespace warren::gc
