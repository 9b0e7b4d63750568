// Memory of the operating system in its four states. Callers: address_space, page_heap, metadata.
//
//   none      not ours
//   reserved  ours by agreement or by a PROT_NONE mapping; touching it faults      reserve()
//   prepared  readable and writable, all zero, no memory behind it yet             prepare()
//   ready     touched: memory stands behind it; a first touch makes it so, no call
//   (back to prepared: the pages are given back and read as zero again             release())
//
// Invariant: a call that fails changes nothing but what its result says; no call touches errno.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::os_memory {

enum class PrepareResult : uint8_t {
  kOk,
  kTaken,     // somebody else's mapping lies in the range (only where the range is not reserved)
  kNoMemory,  // the kernel refuses: a limit, or no memory
};

// none -> reserved, wherever the kernel likes, aligned; nullptr when refused. PROT_NONE: nothing is
// committed, but the range counts against RLIMIT_AS.
void *reserve(size_t bytes, size_t align);

// reserved -> none, for a range that reserve() made.
void unreserve(void *address, size_t bytes);

// reserved -> prepared. `exclusive`: the range was made by reserve(), so mapping over it is right;
// otherwise it is only agreed upon and anything found there is left alone.
PrepareResult prepare(void *address, size_t bytes, bool exclusive);

// prepared -> reserved. When the kernel refuses, it stays prepared, and taken for who does not have it `exclusive`.
void unprepare(void *address, size_t bytes, bool exclusive);

// ready -> prepared: gives the pages back. False when the kernel refuses (locked pages): the
// contents are then undefined, and the caller must treat the range as dirty.
bool release(void *address, size_t bytes);

// Whether the kernel is to back these OS pages with huge pages. Advice: nothing depends on it.
void prefer_huge_pages(void *address, size_t bytes, bool prefer);

// Whether stores into these prepared pages go through; otherwise they fault, and system calls that write there fail with
// EFAULT. False when the kernel refuses (a process may have only so many mappings): some of the pages may have changed.
bool allow_stores(void *address, size_t bytes, bool allow);

// Prepared pages that a forked child will find all zero, whatever the parent has stored there. False: they are ordinary pages.
bool wipe_in_children(void *address, size_t bytes);

enum class MoveResult : uint8_t {
  kMoved,
  kNotMoved,         // both ranges are as before, but what `to` held is gone: it reads as zero
  kDestinationLost,  // nothing has moved and `to` is no longer mapped
};

// Moves the pages behind [from, from + bytes) to [to, to + bytes), both prepared; the old range
// reads as zero afterwards.
MoveResult move_pages(void *from, void *to, size_t bytes);

}  // namespace warren::os_memory
