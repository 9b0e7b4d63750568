// select: warren/channel.h and channel_cxx.h, on tasks of either kind.
// Invariant: races are forced by their number, never by time; what must hold is conserved values and who may be chosen.
#include "tests/scheduler/tasks.h"

#include <array>
#include <memory>
#include <string>

namespace warren {
namespace {

TASK_TEST(Select, DefaultAndIndex) {
  chan<int> a = make_chan<int>(1), b = make_chan<int>(1), nil;
  EXPECT_EQ(select(on_default()), 0);
  EXPECT_EQ(select(on_recv(a), on_recv(b), on_default()), 2);
  EXPECT_EQ(select(on_default(), on_recv(a)), 0);
  EXPECT_EQ(select(on_recv(a), on_default()), 1);
  EXPECT_EQ(select(on_recv(nil), on_send(nil, 1), on_default()), 2);
  int sent = 0;
  EXPECT_EQ(select(on_recv(a), on_send(b, 5, [&] { sent++; }), on_default()), 1);
  EXPECT_EQ(sent, 1);
  int got = 0;
  EXPECT_EQ(select(on_recv(a), on_default(), on_recv(b, [&](std::optional<int> value) { got = *value; })), 2);
  EXPECT_EQ(got, 5);
  EXPECT_EQ(select(on_send(nil, 1), on_send(a, 2)), 1) << "a nil channel is never ready";
  EXPECT_EQ(select(on_recv(a, [&](std::optional<int> value) { got = *value; })), 0);
  EXPECT_EQ(got, 2);
}

TASK_TEST(Select, Closed) {
  chan<int> a = make_chan<int>(), b = make_chan<int>(1);
  a.close();
  bool ended = false;
  EXPECT_EQ(select(on_recv(a, [&](std::optional<int> value) { ended = !value; }), on_default()), 0);
  EXPECT_TRUE(ended);
  EXPECT_THROW(select(on_send(a, 1)), panic_error);
  EXPECT_THROW(select(on_send(a, 1), on_default()), panic_error);
  b.send(7);
  b.close();
  int got = 0;
  EXPECT_EQ(select(on_recv(b, [&](std::optional<int> value) { got = value.value_or(-1); })), 0);
  EXPECT_EQ(got, 7);
  EXPECT_EQ(select(on_recv(b, [&](std::optional<int> value) { got = value.value_or(-1); })), 0);
  EXPECT_EQ(got, -1);
}

TASK_TEST(Select, CloseWakesABlockedSelect) {
  for (int which = 0; which < 4; ++which) {
    chan<std::string> a = make_chan<std::string>(), b = make_chan<std::string>();
    Tasks tasks;
    std::atomic<int> result{-2};
    tasks.spawn([&] {
      try {
        result = which < 2 ? select(on_recv(a), on_recv(b)) : select(on_send(a, "x"), on_send(b, "y"));
      } catch (const panic_error &error) {
        EXPECT_STREQ(error.what(), "send on closed channel");
        result = 9;
      }
    });
    let_others_run();
    EXPECT_EQ(result, -2);
    (which % 2 == 0 ? a : b).close();
    tasks.join();
    EXPECT_EQ(result, which < 2 ? which : 9);
  }
}

// A select that waits to send and to receive on one channel does not serve itself, and two of them serve each other.
TASK_TEST(Select, SelfSelect) {
  for (size_t capacity : {size_t{0}, size_t{10}}) {
    chan<int> c = make_chan<int>(capacity);
    std::atomic<int> sent{0}, received{0};
    Tasks tasks;
    for (int p = 0; p < 2; ++p) {
      tasks.spawn([&, p] {
        for (int i = 0; i < 1000; ++i) {
          const auto got = [&](std::optional<int> value) {
            EXPECT_TRUE(capacity > 0 || *value != p) << "received its own value";
            received++;
          };
          if (p == 0 || i % 2 == 0) {
            select(on_send(c, p, [&] { sent++; }), on_recv(c, got));
          } else {
            select(on_recv(c, got), on_send(c, p, [&] { sent++; }));
          }
        }
      });
    }
    tasks.join();
    EXPECT_EQ(sent - received, static_cast<int>(c.len()));
    EXPECT_EQ(sent + received, 2000);
  }
}

TASK_TEST(Select, DuplicateChannel) {
  chan<int> c = make_chan<int>(), d = make_chan<int>(), e = make_chan<int>();
  Tasks tasks;
  tasks.spawn([&] {
    select(on_recv(c), on_recv(c), on_recv(d));
    e.send(9);
  });
  let_others_run();
  tasks.spawn([&] { EXPECT_EQ(c.recv(), 7); });
  let_others_run();
  d.send(8);  // ends the select, whose other waiters must not be in the way of who waits behind them
  EXPECT_EQ(e.recv(), 9);
  c.send(7);
}

// One of the two is always ready, in either order of events: default is never taken.
TASK_TEST(Select, AtomicAgainstDefault) {
  for (int round = 0; round < 3000; ++round) {
    chan<int> a = make_chan<int>(1), b = make_chan<int>(1);
    a.send(1);
    Tasks tasks;
    tasks.spawn([&] { select(on_recv(a), on_recv(b), on_default([] { ADD_FAILURE() << "default"; })); });
    b.send(1);
    select(on_recv(a), on_default());
  }
}

TASK_TEST(Select, AtomicAgainstClose) {
  for (int round = 0; round < 3000; ++round) {
    chan<int> a = make_chan<int>(1), b = make_chan<int>();
    a.send(1);
    Tasks tasks;
    tasks.spawn([&] { select(on_recv(a), on_recv(b), on_default([] { ADD_FAILURE() << "default"; })); });
    b.close();
    select(on_recv(a), on_default());
  }
}

// Each of the ready cases is chosen about as often.
TASK_TEST(Select, Fair) {
  constexpr int kCases = 5, kRounds = 10000;
  std::array<chan<int>, kCases> c;
  for (chan<int> &each : c) {
    each = make_chan<int>(1);
    each.send(0);
  }
  std::array<int, kCases> chosen{};
  for (int round = 0; round < kRounds; ++round) {
    const int i = select(on_recv(c[0]), on_recv(c[1]), on_recv(c[2]), on_recv(c[3]), on_recv(c[4]));
    chosen[static_cast<size_t>(i)]++;
    c[static_cast<size_t>(i)].send(0);
  }
  for (int times : chosen) EXPECT_NEAR(times, kRounds / kCases, kRounds / 20);
  chosen = {};
  for (int round = 0; round < kRounds; ++round) {
    const int i = select(on_recv(c[0]), on_recv(c[1]));
    chosen[static_cast<size_t>(i)]++;
    c[static_cast<size_t>(i)].send(0);
  }
  EXPECT_NEAR(chosen[0], kRounds / 2, kRounds / 20);
  chan<int> bits = make_chan<int>();
  int ones = 0;
  Tasks tasks;
  tasks.spawn([bits] {
    for (int i = 0; i < 4000; ++i) select(on_send(bits, 0), on_send(bits, 1));
    bits.close();
  });
  for (int bit : bits) ones += bit;
  EXPECT_NEAR(ones, 2000, 400);
}

// Losing cases leave their queues at once: a waiter left behind would swallow a value, or grow the queue.
TASK_TEST(Select, LosersLeaveNothingBehind) {
  chan<int> busy = make_chan<int>(), idle = make_chan<int>();
  Tasks tasks;
  tasks.spawn([&] {
    for (int i = 0; i < 5000; ++i) busy.send(i);
  });
  for (int i = 0; i < 5000; ++i) {
    int got = -1;
    const auto note = [&](std::optional<int> value) { got = *value; };
    EXPECT_EQ(select(on_recv(idle), on_recv(busy, note), on_send(idle, 1)), 1);
    EXPECT_EQ(got, i);
  }
  EXPECT_FALSE(idle.try_send(1));
  int out;
  EXPECT_EQ(idle.try_recv(out), recv_status::empty);
}

TASK_TEST(Select, Stress) {
  std::array<chan<int>, 4> c{make_chan<int>(), make_chan<int>(), make_chan<int>(2), make_chan<int>(3)};
  constexpr int kEach = 2000;
  Tasks tasks;
  for (const chan<int> &each : c) {
    tasks.spawn([each] {
      for (int i = 0; i < kEach; ++i) each.send(0);
    });
    tasks.spawn([each] {
      for (int i = 0; i < kEach; ++i) EXPECT_TRUE(each.recv());
    });
  }
  // The same number again through selects, whose finished cases become nil.
  tasks.spawn([&] {
    std::array<chan<int>, 4> mine = c;
    std::array<int, 4> sent{};
    for (int total = 0; total < 4 * kEach; ++total) {
      const int chosen = select(on_send(mine[0], 1), on_send(mine[1], 1), on_send(mine[2], 1), on_send(mine[3], 1));
      const auto i = static_cast<size_t>(chosen);
      if (++sent[i] == kEach) mine[i] = {};
    }
  });
  tasks.spawn([&] {
    std::array<chan<int>, 4> mine = c;
    std::array<int, 4> received{};
    for (int total = 0; total < 4 * kEach; ++total) {
      const int chosen = select(on_recv(mine[0]), on_recv(mine[1]), on_recv(mine[2]), on_recv(mine[3]));
      const auto i = static_cast<size_t>(chosen);
      if (++received[i] == kEach) mine[i] = {};
    }
  });
  tasks.join();
  for (const chan<int> &each : c) EXPECT_EQ(each.len(), 0u);
}

// All values arrive once when several selects send over several channels to several selects.
TASK_TEST(Select, ManyToMany) {
  constexpr int kTasks = 3, kEach = 3000;
  chan<int> a = make_chan<int>(), b = make_chan<int>(1), c = make_chan<int>(5);
  std::vector<std::atomic<int>> seen(kTasks * kEach);
  Tasks tasks;
  for (int t = 0; t < kTasks; ++t) {
    tasks.spawn([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const int value = t * kEach + i;
        select(on_send(a, value), on_send(b, value), on_send(c, value));
      }
    });
    tasks.spawn([&] {
      const auto note = [&](std::optional<int> value) { seen[static_cast<size_t>(*value)]++; };
      for (int i = 0; i < kEach; ++i) select(on_recv(c, note), on_recv(a, note), on_recv(b, note));
    });
  }
  tasks.join();
  for (const std::atomic<int> &times : seen) ASSERT_EQ(times, 1);
}

TASK_TEST(Select, MoveOnlyValues) {
  chan<std::unique_ptr<std::string>> a = make_chan<std::unique_ptr<std::string>>();
  chan<std::unique_ptr<std::string>> b = make_chan<std::unique_ptr<std::string>>(1);
  EXPECT_EQ(select(on_send(a, std::make_unique<std::string>("lost")), on_default()), 1);
  EXPECT_EQ(select(on_send(a, std::make_unique<std::string>("lost")),
                   on_send(b, std::make_unique<std::string>("kept"))),
            1);
  std::string got;
  select(on_recv(a), on_recv(b, [&](std::optional<std::unique_ptr<std::string>> value) { got = **value; }));
  EXPECT_EQ(got, "kept");
  auto reused = on_recv(b, [&](std::optional<std::unique_ptr<std::string>> value) { got = **value; });
  for (const char *text : {"one", "two"}) {
    b.send(std::make_unique<std::string>(text));
    EXPECT_EQ(select(reused), 0);
    EXPECT_EQ(got, text);
  }
}

// Channels given as temporaries live as long as their cases.
TASK_TEST(Select, Temporaries) {
  const auto closed = [] {
    chan<int> c = make_chan<int>();
    c.close();
    return c;
  };
  auto kept = on_recv(closed());
  EXPECT_EQ(select(kept, on_default()), 0);
  EXPECT_EQ(select(on_recv(closed()), on_send(make_chan<int>(), 1)), 0);
}

TASK_TEST(Select, SixtyFourCasesOfTheCFunction) {
  constexpr size_t kCases = 64;
  std::array<wr_chan *, kCases> c;
  for (wr_chan *&each : c) each = wr_chan_make(sizeof(int), 0);
  std::array<int, kCases> values{};
  for (size_t chosen : {size_t{0}, size_t{17}, kCases - 1}) {
    Tasks tasks;
    tasks.spawn([&] {
      int value = static_cast<int>(chosen);
      EXPECT_EQ(wr_chan_send(c[chosen], &value), WR_CHAN_DONE);
    });
    std::array<wr_select_case, kCases> cases{};
    for (size_t i = 0; i < kCases; ++i) cases[i] = {c[i], &values[i], 0, 0, {}};
    EXPECT_EQ(wr_select(cases.data(), kCases, 1), static_cast<int>(chosen));
    EXPECT_EQ(cases[chosen].status, WR_CHAN_DONE);
    EXPECT_EQ(values[chosen], static_cast<int>(chosen));
    EXPECT_EQ(wr_select(cases.data(), kCases, 0), WR_SELECT_DEFAULT);
  }
  for (wr_chan *each : c) wr_chan_unref(each);
}

}  // namespace
}  // namespace warren
