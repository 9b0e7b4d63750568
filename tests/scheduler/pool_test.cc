// pool: warren/sync.h, on tasks of either kind.
// Invariant: cycles are made by the test; each object is in one pair of hands at a time, and is disposed of once.
#include "tests/scheduler/tasks.h"

#include <memory>

namespace warren {
namespace {

struct Thing {
  static inline std::atomic<int> alive{0};
  Thing() { alive++; }
  ~Thing() { alive--; }
  std::atomic<int> users{0};
};

TASK_TEST(Pool, GivesWhatWasPut) {
  int made = 0;
  pool<Thing> p([&] {
    made++;
    return new Thing;
  });
  Thing *a = p.get();
  EXPECT_EQ(made, 1);
  p.put(a);
  p.put(nullptr);
  EXPECT_EQ(p.get(), a);
  EXPECT_EQ(made, 1);
  Thing *b = p.get();
  EXPECT_NE(b, a);
  EXPECT_EQ(made, 2);
  p.put(a);
  p.put(b);
}

TASK_TEST(Pool, EmptiedByTwoCycles) {
  pool<Thing> p([] { return new Thing; });
  EXPECT_EQ(Thing::alive, 0) << "the pool of the test before has taken its objects along";
  for (int i = 0; i < 100; ++i) p.put(new Thing);
  wr_pool_cycle();
  EXPECT_EQ(Thing::alive, 100);
  p.put(p.get());  // asked for: it stays
  wr_pool_cycle();
  EXPECT_EQ(Thing::alive, 1);
  wr_pool_cycle();
  wr_pool_cycle();
  EXPECT_EQ(Thing::alive, 0);
}

TASK_TEST(Pool, NoneWithoutMake) {
  pool<Thing> p(nullptr);
  EXPECT_EQ(p.get(), nullptr);
}

TASK_TEST(Pool, OneUserAtATime) {
  pool<Thing> p([] { return new Thing; });
  std::atomic<bool> stop{false};
  Tasks cycles;
  cycles.spawn([&] {
    while (!stop) {
      wr_pool_cycle();
      let_others_run(5);
    }
  });
  Tasks tasks;
  for (int t = 0; t < 4; ++t) {
    tasks.spawn([&] {
      for (int i = 0; i < 5000; ++i) {
        Thing *thing = p.get();
        EXPECT_EQ(thing->users.fetch_add(1), 0);
        if (i % 100 == 0) let_others_run(2);
        thing->users.fetch_sub(1);
        p.put(thing);
      }
    });
  }
  tasks.join();
  stop = true;
}

}  // namespace
}  // namespace warren
