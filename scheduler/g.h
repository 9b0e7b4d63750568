// G: a fiber, or a plain thread as the primitives see it. A fiber's G lies in the top page of its own stack (stack.h).
// Callers: everything in scheduler/. Who may touch a field is written beside it.
// Invariant: the status says who owns the rest, and only the functions of g_status.h change it.
#pragma once

#include "scheduler/park.h"
#include "scheduler/stack_tools.h"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace warren::scheduler {

struct Frames;
struct M;

//   kDead      its stack waits for another fiber       owned by the free list it is in
//   kRunnable  in one run queue                        by that queue
//   kRunning   on an M                                 by that M
//   kReadied   on an M; its next park() ends at once   by that M
//   kWaiting   parked                                  by whoever will call ready()
enum class GStatus : uint8_t { kDead, kRunnable, kRunning, kReadied, kWaiting };

// What __cxa_get_globals() points to: the exceptions being handled and the number of those in flight.
struct ExceptionState {
  void *caught = nullptr;
  uint32_t uncaught = 0;
  bool any() const { return caught != nullptr || uncaught != 0; }
};

struct alignas(64) G {
  // Written by each switch.
  void *sp;                     // where it goes on; stale while it runs
  std::atomic<GStatus> status;  // release: what was saved above it; pairs with the acquire in ready() and in queues
  WaitReason reason;            // of the last park
  bool on_thread;               // a plain thread's: it waits on `word`
  int errno_kept;               // the program's, while it does not run
  G *next;  // in the run queue, free list or batch that owns it
  bool (*unlock)(G *g, void *argument);  // of the park under way
  void *unlock_argument;
  std::atomic<M *> m;  // relaxed: the M it runs on, for dumps
  M *locked_m;         // by its own fiber
  uint32_t locked_depth;
  std::atomic<uint32_t> blocking;  // nesting of its wr_enter_blocking; relaxed, read by sysmon and dumps
  std::atomic<uint32_t> word;  // futex of a plain thread

  // Set when it starts.
  void (*entry)(void *argument);
  void *argument;
  uint64_t id;
  uint64_t creator;     // id of the fiber that started it
  uint64_t since;       // coarse time of the last park
  const void *awaited;  // of the last park, as its caller gave it
  uint32_t generation;  // of the run it belongs to
  uint8_t stack_order;
  bool is_main;
  [[no_unique_address]] ToolStack tool_stack;
  Frames *thrown_at;    // watched_call.cc's: where the exception was thrown that ends the process
  char *low;  // its stack: [low, this)
  char name[32];
  uint64_t trimmed;  // `since` of the park for which parked_stacks.cc has seen to its stack; that file's
};

}  // namespace warren::scheduler
