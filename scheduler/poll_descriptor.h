// Poll descriptors: what netpoll tells them, and what wr_wait_fd needs. Callers: netpoll_epoll.cc, wait_fd.cc, net.cc;
// all else uses them through the C ABI.
// Invariant: see poll_descriptor.cc.
#pragma once

#include "include/warren/scheduler_core.h"
#include "scheduler/g.h"
#include "scheduler/run_queue.h"

namespace warren::scheduler {

// Beside the directions: the peer's end of the stream, an error or urgent data has come.
inline constexpr unsigned kPollMark = 4;

// The descriptor has become ready in these directions. Who waits is put into `batch`, to be run.
void poll_happened(wr_poll *poll, uint32_t tag, unsigned directions, Batch<G> &batch);

// As wr_poll_open, for these events of poll(2) only, all of which count as WR_POLL_READ.
int open_poll_for(int fd, short events, wr_poll **out);

// In a forked child: no other thread waits. reset_polls_in_child: poll_descriptor.cc; reset_waits_in_child: wait_fd.cc.
void reset_polls_in_child();
void reset_waits_in_child();

// At the end of a run: ends the waits in wr_wait_fd of the fibers that it leaves behind. wait_fd.cc.
void forget_abandoned_waits();

// Whether a mark has come at any time: from then on a read that gave less than it was asked for does not mean that there is
// nothing left to read. Of marks that are not known yet who waits is told.
bool poll_marked(const wr_poll *poll);

// Cancels, and forgets the descriptor, which is about to be closed by somebody else than who waits.
void detach_poll(wr_poll *poll);

}  // namespace warren::scheduler
