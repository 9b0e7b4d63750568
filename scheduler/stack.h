// Fiber stacks: address space carved out of slabs, memory only where touched. Callers: fiber.cc, world.cc,
// run.cc, sysmon.cc, parked_stacks.cc, report.cc, trace.cc; preload/ and inspect/ (how much, and whose).
//
//   slab    [header page | stack 0 | stack 1 | …]     one mapping, never unmapped; stacks of one order, 64 KiB << order
//   stack   [guard | … grows down …  | G | colour]    the G in the top page, so a parked fiber is one page
//
// The guard faults by the kernel's guard markers, which need no mapping of their own; older kernels get
// mprotect for as many as the map count bears, and none beyond. The colour is up to 1 KiB, so that the hot words of
// many fibers do not meet in one set of the first cache.
// Invariant: a stack belongs to a live fiber, to one free list, or to its slab: given back (its bit is set) or not
// carved yet.
#pragma once

#include "scheduler/g.h"
#include "scheduler/run_queue.h"

#include <cstddef>

namespace warren::scheduler::stacks {

inline constexpr size_t kLeastBytes = size_t{64} << 10;
inline constexpr unsigned kOrders = 15;  // up to 1 GiB
inline constexpr unsigned kDefaultOrder = 2;

constexpr size_t bytes_of(unsigned order) { return kLeastBytes << order; }

// The least order that holds so many bytes; kOrders: none does.
constexpr unsigned order_for(size_t bytes) {
  unsigned order = 0;
  while (order < kOrders && bytes_of(order) < bytes) ++order;
  return order;
}

// A dead G on a stack of its own. nullptr: no memory, or no address space.
G *allocate(unsigned order);

// Up to `count` of them, as cheap as it gets; at least one unless there is none to be had.
Batch<G> allocate_some(unsigned order, uint32_t count);

void free(const Batch<G> &batch, unsigned order);

// In a forked child: the lock is free. If somebody was at the lists, they are empty: what was in them is lost.
void reset_in_child();

// Gives back the memory of stacks that nobody has needed since the last call that was not left unfinished.
enum class Scavenged : uint8_t { kNothingLeft, kMoreLater, kUnfinished };
Scavenged scavenge();

// Of a parked fiber's stack, below where it is: whether some of it seems to be in memory (a hint, at any time); gives
// it back, while nobody can run the fiber.
bool may_have_unused(const G *g);
void give_back_unused(const G *g);

// Of a fiber's own stack that does not run: from here to its G it is in use. All of it is, where the fiber was saved on another one, in
// a coroutine of the program's: where it was left is unknown. At any time.
uintptr_t in_use_from(const G *g);

// Whether an address lies in the guard of a stack.
bool in_guard(const void *address);

// Each G that has been made, dead ones included.
void for_each(void (*visit)(G *g, void *context), void *context);

// So many of them. Returns where to go on; the beginning: these were the last.
struct Position {
  uint32_t slab = 0, index = 0;
  bool operator==(const Position &) const = default;
};
Position for_some(Position from, size_t most, void (*visit)(G *g, void *context), void *context);

// The address space of all stacks.
void for_each_slab(void (*visit)(uintptr_t low, uintptr_t high, void *context), void *context);
size_t mapped_bytes();

}  // namespace warren::scheduler::stacks
