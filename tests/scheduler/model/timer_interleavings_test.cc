// Timers that are removed, reset, run and moved between heaps at once, under some thousand orders of events each.
// A plain thread's view: `this_m()` is nullptr, so timers are added to the first P's heap, or to the timer thread's
// where no run is under way. Invariant: a failure names the seed, and the seed gives it again (WARREN_SEED=N).
#include "allocator/base/fatal.h"
#include "scheduler/find_runnable.h"
#include "scheduler/m.h"
#include "scheduler/state.h"
#include "scheduler/timer.h"
#include "scheduler/timer_thread.h"
#include "tests/scheduler/model/explore.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

// --- what timer.cc finds instead of the scheduler -------------------------------------------------------------------

namespace warren::scheduler {

Scheduler sched;

extern "C" {
__attribute__((used)) WARREN_TLS ThreadWords warren_thread_words = {};
}

void answer_request(M *) { abort(); }  // nobody is an M
void wake_poller(uint64_t) {}

namespace timer_thread {
namespace {
TimerHeap *of_thread = nullptr;
}
TimerHeap &heap() { return *of_thread; }
void wake() {}
}  // namespace timer_thread

}  // namespace warren::scheduler

namespace warren::fatal {
void check_failed(const char *condition, const char *file, int line) {
  fprintf(stderr, "%s:%d: %s\n", file, line, condition);
  abort();
}
}  // namespace warren::fatal

namespace warren::scheduler {
namespace {

using Bodies = std::vector<std::function<void()>>;

struct World {
  P p[2];
  TimerHeap thread;
  World() {
    sched.ps[0].store(&p[0]);
    sched.ps[1].store(&p[1]);
    sched.active.store(true);
    timer_thread::of_thread = &thread;
  }
  bool anything_pending() const {
    return p[0].timers.next() != kNever || p[1].timers.next() != kNever || thread.next() != kNever;
  }
  void run_all(uint64_t time) {
    for (TimerHeap *heap : {&p[0].timers, &p[1].timers, &thread}) heap->run(time);
  }
};

struct Counting {
  Timer timer;
  int fired = 0;
  bool removed = false;  // and not added since
  bool late = false;
  Counting() {
    timer.owner = this;
    timer.fire = [](Timer *t, uint64_t) {
      auto *self = static_cast<Counting *>(t->owner);
      ++self->fired;
      if (self->removed) self->late = true;
    };
  }
};

template <class Make>
void explore_orders(Make make, uint64_t orders = 20000) {
  const char *only = getenv("WARREN_SEED");
  const uint64_t first = only != nullptr ? strtoull(only, nullptr, 10) : 1;
  const uint64_t last = only != nullptr ? first : orders;
  for (uint64_t seed = first; seed <= last; ++seed) {
    auto world = std::make_shared<World>();
    std::function<void()> check = [] {};
    ASSERT_TRUE(explore::run(seed, make(world, check))) << "somebody waits for ever, WARREN_SEED=" << seed;
    check();
    ASSERT_FALSE(testing::Test::HasFailure()) << "WARREN_SEED=" << seed;
  }
}

TEST(TimerInterleavings, RemovedWhileItsHeapMoves) {
  explore_orders([](auto world, auto &check) {
    auto timer = std::make_shared<Counting>();
    auto other = std::make_shared<Counting>();
    for (Counting *one : {timer.get(), other.get()}) {
      one->timer.when = 10;
      world->p[1].timers.add(&one->timer);
    }
    check = [=] {
      EXPECT_TRUE(timer->removed) << "nobody fired it, so it was pending";
      world->run_all(100);
      EXPECT_FALSE(timer->late);
      EXPECT_EQ(timer->fired, 0);
      EXPECT_EQ(other->fired, 1);
      EXPECT_FALSE(world->anything_pending());
    };
    return Bodies{[=] { world->p[1].timers.move_to(world->p[0].timers); },
                  [=] { timer->removed = remove(&timer->timer); }};
  });
}

TEST(TimerInterleavings, ResetWhileItsHeapMoves) {
  explore_orders([](auto world, auto &check) {
    auto timer = std::make_shared<Counting>();
    timer->timer.when = 10;
    world->p[1].timers.add(&timer->timer);
    check = [=] {
      world->run_all(15);
      EXPECT_EQ(timer->fired, 0);
      world->run_all(100);
      EXPECT_EQ(timer->fired, 1);
      EXPECT_FALSE(world->anything_pending());
    };
    return Bodies{[=] { world->p[1].timers.move_to(world->p[0].timers); },
                  [=] { EXPECT_TRUE(reset(&timer->timer, 20, 0)); }};
  });
}

// The end of a run: timers go to the timer thread, those too that are being added at that moment.
TEST(TimerInterleavings, AddedAndResetWhileARunEnds) {
  explore_orders([](auto world, auto &check) {
    auto timer = std::make_shared<Counting>();
    auto added = std::make_shared<Counting>();
    timer->timer.when = added->timer.when = 10;
    world->p[0].timers.add(&timer->timer);
    check = [=] {
      EXPECT_EQ(world->p[0].timers.next(), kNever) << "a timer that nobody looks at";
      world->thread.run(100);
      EXPECT_EQ(timer->fired, 1);
      EXPECT_EQ(added->fired, 1);
    };
    return Bodies{[=] {
                    sched.active.store(false);
                    explore::step();
                    world->p[0].timers.move_to(world->thread);
                  },
                  [=] { reset(&timer->timer, 20, 0); }, [=] { add(&added->timer); }};
  });
}

TEST(TimerInterleavings, RemovedAndResetWhileItFires) {
  for (const uint64_t period : {uint64_t{0}, uint64_t{5}}) {
    explore_orders([period](auto world, auto &check) {
      auto timer = std::make_shared<Counting>();
      auto resets = std::make_shared<int>(0);
      timer->timer.when = 10;
      timer->timer.period = period;
      world->p[0].timers.add(&timer->timer);
      check = [=] {
        const bool was_pending = remove(&timer->timer);
        const int before = timer->fired;
        timer->removed = true;
        world->run_all(1000);
        EXPECT_EQ(timer->fired, before);
        EXPECT_FALSE(world->anything_pending());
        if (period == 0) {
          EXPECT_EQ(timer->fired + was_pending, 1 + *resets);
        }
      };
      return Bodies{[=] { world->p[0].timers.run(12); },
                    [=] { world->p[0].timers.run(40); },
                    [=] { *resets += !reset(&timer->timer, 30, period); },
                    [=] { world->p[0].timers.move_to(world->p[1].timers); }};
    });
  }
}

}  // namespace
}  // namespace warren::scheduler
