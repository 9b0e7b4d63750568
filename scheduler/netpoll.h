// Waiting for descriptors. Callers: find_runnable.cc and sysmon.cc poll; poll_descriptor.cc registers descriptors.
// Implemented on epoll in netpoll_epoll.cc, the only file that knows it.
// Invariant: a descriptor is reported once for each time it becomes ready (edge-triggered), with the tag it was opened
// with.
#pragma once

#include "scheduler/g.h"
#include "scheduler/run_queue.h"

#include <atomic>
#include <cstdint>

namespace warren::scheduler::netpoll {

inline constexpr int64_t kForever = -1;

bool set_up();

// In a forked child: the parent's descriptors are left to it.
void reset_in_child();

// 0 or a negative errno. Events are those of poll(2).
int open(int fd, short events, void *poll, uint32_t tag);
int close(int fd);

// Fibers made ready by what has happened. Nanoseconds to wait: 0, kForever, or a time.
Batch<G> poll(int64_t wait);

// Ends a poll() that waits.
void interrupt();

extern uint32_t generation;  // another in each child of fork

// Gs that wait for descriptors: who sleeps last must sleep in poll(). Fibers count as long as their run lasts. What it leaves behind
// may still be taken out of its word, later or never, and counts neither way.
class Waiters {
 public:
  void add(const G *g) { change(g, 1); }
  void remove(const G *g) { change(g, ~uint64_t{0}); }
  // relaxed: a hint.
  bool any_hint() const { return any(std::memory_order_relaxed); }
  // seq_cst: who adds or removes one looks for a sleeper afterwards, who is about to sleep says so and looks here.
  bool any() const { return any(std::memory_order_seq_cst); }

  // No fiber of an earlier generation counts any more.
  void begin(uint32_t generation_of_run) { fibers_.store(uint64_t{generation_of_run} << 32, std::memory_order_seq_cst); }
  void reset_in_child() { threads_.store(0, std::memory_order_relaxed); }

 private:
  bool any(std::memory_order order) const { return static_cast<uint32_t>(fibers_.load(order)) != 0 || threads_.load(order) != 0; }

  void change(const G *g, uint64_t by) {
    if (g->on_thread) {
      threads_.fetch_add(static_cast<uint32_t>(by), std::memory_order_seq_cst);
      return;
    }
    uint64_t seen = fibers_.load(std::memory_order_relaxed);  // the exchange decides
    do {
      if (seen >> 32 != g->generation) return;
    } while (!fibers_.compare_exchange_weak(seen, seen + by, std::memory_order_seq_cst));
  }

  std::atomic<uint64_t> fibers_{0};  // their number, and above it the generation of their run
  std::atomic<uint32_t> threads_{0};
};
extern Waiters waiters;

}  // namespace warren::scheduler::netpoll
