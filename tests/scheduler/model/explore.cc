// See explore.h. Also park.h, timer.h and the few other names that the code under test asks for.
// The unlock function of a park runs while its G counts as parked already, with others free to step in between, as on
// another thread: what it must not touch after its last unlock may be gone then.
#include "tests/scheduler/model/explore.h"

#include "allocator/base/os_calls.h"
#include "scheduler/park.h"
#include "scheduler/timer.h"

#include <warren/channel.h>
#include <warren/scheduler_core.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <ucontext.h>

namespace warren::scheduler {

struct G {
  uint32_t number = 0;
  ucontext_t context{};
  std::unique_ptr<char[]> stack;
  std::function<void()> body;
  bool done = false;
  bool parked = false;
  bool ready = false;
  bool yields = false;
};

}  // namespace warren::scheduler

namespace explore {
namespace {

using warren::scheduler::G;

constexpr size_t kStackBytes = 128 << 10;

uint64_t state = 1;
ucontext_t home;
std::vector<std::unique_ptr<G>> all;
G *running = nullptr;
std::vector<std::unique_ptr<char[]>> spare_stacks;

bool can_run(const G &g) { return !g.done && (!g.parked || g.ready); }

// nullptr: nobody can.
G *choose() {
  size_t candidates = 0;
  for (const auto &g : all) candidates += can_run(*g) ? 1 : 0;
  if (candidates == 0) return nullptr;
  size_t n = random() % candidates;
  for (const auto &g : all) {
    if (can_run(*g) && n-- == 0) return g.get();
  }
  abort();
}

void switch_to(G *next) {
  G *from = running;
  if (next == from) return;
  running = next;
  swapcontext(from != nullptr ? &from->context : &home, next != nullptr ? &next->context : &home);
}

void enter() {
  running->body();
  running->done = true;
  switch_to(choose());
}

G *make(std::function<void()> body) {
  auto g = std::make_unique<G>();
  g->number = static_cast<uint32_t>(all.size()) + 1;
  g->body = std::move(body);
  if (!spare_stacks.empty()) {
    g->stack = std::move(spare_stacks.back());
    spare_stacks.pop_back();
  } else {
    g->stack = std::make_unique<char[]>(kStackBytes);
  }
  getcontext(&g->context);
  g->context.uc_stack.ss_sp = g->stack.get();
  g->context.uc_stack.ss_size = kStackBytes;
  makecontext(&g->context, enter, 0);
  all.push_back(std::move(g));
  return all.back().get();
}

}  // namespace

uint64_t random() {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state >> 11;
}

void step() {
  if (running != nullptr) switch_to(choose());
}

bool run(uint64_t seed, std::vector<std::function<void()>> bodies) {
  state = seed * 0x9e3779b97f4a7c15u + 1;
  for (int i = 0; i < 3; ++i) random();
  for (auto &body : bodies) make(std::move(body));
  switch_to(choose());
  bool finished = true;
  for (auto &g : all) {
    finished = finished && g->done;
    spare_stacks.push_back(std::move(g->stack));
  }
  all.clear();
  return finished;
}

}  // namespace explore

namespace warren::scheduler {

G *current() { return explore::running; }

void park(bool (*unlock)(G *g, void *argument), void *argument, WaitReason, const void *) {
  G *g = explore::running;
  g->parked = true;
  if (unlock != nullptr) {
    G *unlocker = explore::make([=] {
      if (!unlock(g, argument)) abort();
    });
    explore::switch_to(unlocker);  // the lock is held: it comes first, as far as its first unlock
  } else {
    explore::switch_to(explore::choose());
  }
  if (!g->ready) abort();
  g->parked = g->ready = false;
}

uint32_t run_of(const G *) { return 0; }
bool has_ended(uint32_t) { return false; }

bool spinning_may_help() { return explore::random() % 2 == 0; }

void ready(G *g) {
  if (g->ready) abort();  // two for one park; the one may come before the park
  if (g->yields) abort();  // it is in a run queue: it must not yield between its entry into a queue and its park
  g->ready = true;
  explore::step();
}

// Of channels with timers, which are not explored.
void unref_timed_channel(wr_chan *) { abort(); }

}  // namespace warren::scheduler

namespace warren::os_calls {
uint64_t now() { return 42; }
void sleep(uint64_t) { explore::step(); }
uint32_t thread_id() { return explore::running->number; }
}  // namespace warren::os_calls

extern "C" {
void wr_yield(void) {
  warren::scheduler::G *g = explore::running;
  if (g != nullptr) g->yields = true;
  explore::step();
  if (g != nullptr) g->yields = false;
}
uint64_t wr_fiber_id(void) { return 1; }
void wr_fatal_panic(const char *text) {
  fprintf(stderr, "panic: %s\n", text);
  abort();
}
void wr_fatal_panic_at(const char *text, void *const *, int) { wr_fatal_panic(text); }
int wr_stack_here(void **, int) { return 0; }
void wr_report_terminate(const char *, void *const *, int) {}

int wr_call_watched(int (*fn)(void *argument), void *argument) { return fn(argument); }
void wr_fatal_error(const char *text) {
  fprintf(stderr, "fatal error: %s\n", text);
  abort();
}
}
