// The order in which locks may be taken: downwards in this list only.
// Callers: mutex.cc (debug builds check each acquisition), allocator/fork.cc (takes them all).
// Invariant: a thread holds at most one lock of a rank, but for fork, which takes those of all centrals, span sets and lists of rooted
// memory (the debug counters then run over into the next ranks, and come back).
//
//   rank            guards                                        longest hold         may allocate
//   kFiberWorld     who stops the world of fibers                 the stop             yes
//   kBackground     what the collector's thread does to spans      a pause              metadata
//   kWorld          who may stop the program's threads            a collection's pause  system calls only
//   kCycle          who asks for a collection                     some instructions    no
//   kSpecials       finalizers, weak references                   a walk of the table  metadata
//   kCollectCaches  the list of the collector's thread caches     a walk of the list   metadata
//   kSpanSet        one class's spans in the collector's heap     some instructions    no
//   kPacing         the pacer's state                             some instructions    no
//   kRootedMemory   a list of blocks that are roots               marking them         metadata
//   kMarkWork       buffers of grey objects                       some instructions    metadata
//   kTakeP          who takes Ps from their threads               a membarrier         no
//   kPollTable      who waits in wr_wait_fd                       an epoll_ctl         no
//   kPoll           one poll descriptor, the list of free ones    a few words          no
//   kTimers         one heap of timers                            a sift               when it grows
//   kScheduler      global run queue, idle threads and Ps         a scan of the Ps     no
//   kStacks         free fiber stacks and the slabs of them       an mmap              no
//   kSamples        the blocks that the heap profile has sampled  a few words, a copy  metadata
//   kStackTable     stacks of allocations                         an entry             metadata
//   kHeapInit       the first call's set-up of the heap           some 20 system calls metadata
//   kCacheRegistry  the list of thread caches                     a walk of the list   metadata
//   kCentral        one class's spans and their free bits         a batch of objects   no
//   kPageHeap       page runs, page map, growth of the arena      an mmap or madvise   metadata
//   kMetadata       free lists of spans and caches                an mmap              no
//   kProtection     which pages fault on a store (gc/), taken in
//                   a handler whatever the store's thread holds   an mprotect          no
#pragma once

#include <cstdint>

namespace warren {

enum class LockRank : uint8_t {
  kNotKept,  // what a release build's locks have instead: mutex.h
  kFiberWorld, kBackground, kWorld, kCycle, kSpecials, kCollectCaches, kSpanSet, kPacing, kRootedMemory, kMarkWork,
  kTakeP, kPollTable, kPoll, kTimers, kScheduler, kStacks, kSamples, kStackTable,
  kHeapInit, kCacheRegistry, kCentral, kPageHeap, kMetadata, kProtection
};

namespace lock_rank {

inline constexpr unsigned kBitsPerRank = 2;  // of the counters that debug builds keep, all in one word

// Debug builds stop the process when `rank` is not below every rank this thread holds.
void check_acquire(LockRank rank);
void note_acquired(LockRank rank);
void note_released(LockRank rank);
const char *name(LockRank rank);

}  // namespace lock_rank
}  // namespace warren
