// Grey objects: found, and still to be scanned. Each worker fills and empties a buffer of its own; full buffers go round.
//
// A buffer's entries are addresses of objects, or of later parts of large ones, which are scanned a piece at a time.
// Marking ends when every worker's buffers are empty and none goes round: `active` counts the workers that may have some.
// Where there is no memory for another buffer, the object stays marked and is dropped, and `overflowed` says that all
// marked objects have to be looked at again.
//
// Callers: marker.cc, cycle.cc. Invariant: an object is in at most one buffer, but for those on dirty pages.
#pragma once

#include "allocator/base/mutex.h"

#include <cstddef>
#include <cstdint>

namespace warren::gc {

// Go's size. More: work is shared later. Fewer: the lock is taken more often.
inline constexpr uint32_t kBufferEntries = 253;

struct MarkBuffer {
  MarkBuffer *next;
  uint32_t count;
  uintptr_t entries[kBufferEntries];
};

namespace mark_work {

// An empty buffer; nullptr: no memory.
MarkBuffer *get_empty();
// A buffer with entries; nullptr: none goes round just now.
MarkBuffer *get_full();
void put_empty(MarkBuffer *buffer);
void put_full(MarkBuffer *buffer);

bool any_full();

void note_overflow();
bool take_overflow();

// A worker that begins, and one that has nothing left.
void enter();
void leave();
// Nobody has any work, and none goes round.
bool all_done();

// For fork: no buffer is being moved meanwhile. In the child no buffer goes round, and nobody works.
void lock_for_fork();
void unlock_after_fork(bool in_child);

}  // namespace mark_work
}  // namespace warren::gc
