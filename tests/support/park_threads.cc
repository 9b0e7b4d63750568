// scheduler/park.h on plain threads alone, without a scheduler: each thread is a G and parks on a futex.
// Linked into the tests of channels and locks. Invariant: one ready() ends one park(), in either order.
#include "scheduler/park.h"
#include "scheduler/timer.h"

#include <warren/scheduler_core.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace warren::scheduler {

struct G {
  std::atomic<uint32_t> token{0};
  void *wake_argument = nullptr;
};

namespace {
thread_local G self;
}

G *current() { return &self; }

void park(bool (*unlock)(G *g, void *argument), void *argument, WaitReason) {
  G *g = &self;
  if (unlock != nullptr && !unlock(g, argument)) return;
  while (g->token.exchange(0, std::memory_order_acquire) == 0) {  // pairs with the release in ready()
    syscall(SYS_futex, &g->token, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
  }
}

void ready(G *g) {
  if (g->token.exchange(1, std::memory_order_release) != 0) abort();  // two wakes for one park
  syscall(SYS_futex, &g->token, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void *&wake_argument(G *g) { return g->wake_argument; }

}  // namespace warren::scheduler

namespace warren::scheduler {
uint64_t now() { return wr_now_ns(); }
}  // namespace warren::scheduler

// What little of warren/scheduler_core.h the same tests ask for.
extern "C" {
void wr_yield(void) { sched_yield(); }
uint64_t wr_fiber_id(void) { return 0; }
void wr_fatal_panic(const char *text) {
  fprintf(stderr, "panic: %s\n", text);
  _exit(2);
}
void wr_fatal_error(const char *text) {
  fprintf(stderr, "fatal error: %s\n", text);
  _exit(2);
}
uint64_t wr_now_ns(void) {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return uint64_t(time.tv_sec) * 1000000000u + uint64_t(time.tv_nsec);
}
void wr_sleep_ns(int64_t duration) {
  if (duration <= 0) return wr_yield();
  const timespec time{time_t(duration / 1000000000), long(duration % 1000000000)};
  nanosleep(&time, nullptr);
}
}
