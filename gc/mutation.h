// How the stores of the program are seen while the collector marks, without a barrier in the program's code.
// Caller: the collector. The mechanism is chosen once, by trying it out; each has a file mutation_*.cc.
//
//   mechanism     what it is                                    clearing   first store to a page  system calls' stores
//   kUserfault    the kernel notes it (Linux 6.7)               at once    1 to 2 us; huge: 16    seen
//   kSoftDirty    the kernel notes it, for all of the process   never      the like               seen
//   kProtect      the page is read-only, the store faults       at once    9 to 12 us             fail with EFAULT
//   kNone         nothing: mark with the threads stopped
//
// Why it is enough: after watch() each store into a watched page makes the page dirty before or in the moment in which
// the store happens, and only a visit that comes after makes it clean again. So what a marker read from a page that is
// clean at the end, with all threads stopped, is what stands there. In doubt a page counts as dirty: one that was never
// watched, was given back to the kernel, was mapped anew, or whose mechanism failed.
//
// Invariant: for_each_dirty() visits every page of its range into which a store has gone since the range was watched,
// or since the last call that cleared it; whatever its result is.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::gc::mutation {

enum class Mechanism : uint8_t { kNone, kUserfault, kSoftDirty, kProtect };

// The words of the option gc_tracking, in their order. kAuto never takes kProtect, under which a program's read() into
// its heap would fail.
enum class Choice : uint8_t { kAuto, kUserfault, kSoftDirty, kProtect, kStop };

struct Range {
  uintptr_t start, end;  // multiples of the OS page
};

using Visit = void (*)(Range dirty, void *context);

// All but for_each_dirty(), clears() and mechanism() are for one thread at a time, the collector's, with no lock held.

// Tries the mechanisms out at the first call, and in a child again. A choice that does not work here is reported on
// stderr, and kNone takes its place. Opens up to two descriptors, on high numbers.
Mechanism set_up(Choice choice);

// New memory, in which ranges will be watched later: the arena when it has grown. A mapping of the kernel's is split
// where this begins and ends, rather than at every range. Not for memory that may hold watched pages. False is no
// failure: the ranges are then taken one by one.
bool cover(Range range);

// From here on stores into these ranges are noted. Only memory in use: watching untouched memory builds page
// tables for it. A range that holds part of a huge page splits it. Under kProtect the memory must stay mapped where it
// is until unwatch(). False: some of these ranges are not watched, and count as dirty; before marking begins: unwatch(),
// and mark with the threads stopped.
bool watch(const Range *ranges, size_t count);

// The end of a cycle: stores cost nothing any more.
void unwatch();

// Whether ranges may stay watched from cycle to cycle: who looks after a cycle, or in the next one, is told all that was written to since
// it was cleared last. Stores into them cost what they cost while marking.
bool can_stay();

// The same for a part: what was watched there is not any more, and the rest stays. Only where can_stay(). When everything has been
// lifted in this way, lifted_all() stands for unwatch().
void lift(Range range);
void lifted_all();

// Visits what is dirty in a range, in ascending order. `clear`: and watches it afresh, atomically; for the collector
// and its workers at once, each with ranges of its own, while the program runs. Not clear: reads only; callable while
// the program's threads are stopped at arbitrary points, since it takes no lock and has its buffers on the stack (4
// KiB). False: more had to be visited than is dirty, since sight of something was lost (memory mapped anew or moved, a
// descriptor closed); a pass that clears has watched it again where that was possible.
bool for_each_dirty(Range in, bool clear, Visit visit, void *context);

// In a forked child, which has one thread. Nothing is watched; the next set_up() begins anew.
void reset_in_child();

// Whether `clear` is heeded: else dirty pages do not become fewer.
bool clears();

Mechanism mechanism();
const char *name(Mechanism mechanism);

}  // namespace warren::gc::mutation
