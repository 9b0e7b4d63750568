// Channels, select and locks at their smallest, under some thousand orders of events each.
// Invariant: a failure names the seed, and the seed gives it again (WARREN_SEED=N runs that one alone).
#include "scheduler/timer.h"
#include "tests/scheduler/model/explore.h"

#include <warren/channel_cxx.h>
#include <warren/sync_cxx.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

namespace warren {

namespace scheduler {
uint64_t now() {
  static uint64_t time = 0;
  return time += 100000;  // ten looks at the clock make a starving waiter
}
}  // namespace scheduler

extern "C" void wr_sleep_ns(int64_t) { explore::step(); }

namespace {

using Bodies = std::vector<std::function<void()>>;

// Each order must let all come to their ends: a lost wake-up leaves somebody waiting.
template <class Make>
void explore_orders(Make make, uint64_t orders = 8000) {
  const char *only = getenv("WARREN_SEED");
  const uint64_t first = only != nullptr ? strtoull(only, nullptr, 10) : 1;
  const uint64_t last = only != nullptr ? first : orders;
  for (uint64_t seed = first; seed <= last; ++seed) {
    std::function<void()> check = [] {};
    ASSERT_TRUE(explore::run(seed, make(check))) << "somebody waits for ever, WARREN_SEED=" << seed;
    check();
    ASSERT_FALSE(testing::Test::HasFailure()) << "WARREN_SEED=" << seed;
  }
}

void expect_numbers(std::vector<int> got, int count) {
  std::sort(got.begin(), got.end());
  ASSERT_EQ(got.size(), static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) ASSERT_EQ(got[static_cast<size_t>(i)], i);
}

// Nobody is left in a queue: what can be sent is sent to nobody.
void expect_idle(const chan<int> &c) {
  int out;
  while (c.try_recv(out) == recv_status::received) {
  }
  if (c.cap() == 0) {
    EXPECT_FALSE(c.try_send(0));
  } else {
    EXPECT_TRUE(c.try_send(0));
    EXPECT_EQ(c.len(), 1u);
  }
}

TEST(Interleavings, SendersAndReceivers) {
  for (const size_t capacity : {size_t{0}, size_t{1}, size_t{2}}) {
    explore_orders([capacity](auto &check) {
      auto got = std::make_shared<std::vector<int>>();
      const chan<int> c = make_chan<int>(capacity);
      Bodies bodies;
      for (int s = 0; s < 2; ++s) {
        bodies.push_back([c, s] {
          for (int i = 0; i < 3; ++i) c.send(2 * i + s);
        });
        bodies.push_back([c, got] {
          int last[2] = {-1, -1};
          for (int i = 0; i < 3; ++i) {
            const int value = *c.recv();
            EXPECT_GT(value, last[value % 2]) << "out of order";
            last[value % 2] = value;
            got->push_back(value);
          }
        });
      }
      check = [got, c] {
        expect_numbers(*got, 6);
        expect_idle(c);
      };
      return bodies;
    });
  }
}

TEST(Interleavings, CloseAgainstReceivers) {
  for (const size_t capacity : {size_t{0}, size_t{1}, size_t{2}}) {
    explore_orders([capacity](auto &check) {
      auto got = std::make_shared<std::vector<int>>();
      const chan<int> c = make_chan<int>(capacity);
      const auto receive = [c, got] {
        for (int value : c) got->push_back(value);
      };
      check = [got] { expect_numbers(*got, 3); };
      return Bodies{receive, receive, [c] {
                      for (int i = 0; i < 3; ++i) c.send(i);
                      c.close();
                    }};
    });
  }
}

TEST(Interleavings, CloseAgainstSenders) {
  explore_orders([](auto &check) {
    auto sent = std::make_shared<int>(0);
    auto got = std::make_shared<int>(0);
    const chan<int> c = make_chan<int>(1);
    const auto send = [c, sent] {
      try {
        for (int i = 0; i < 2; ++i) {
          c.send(i);
          ++*sent;
        }
      } catch (const panic_error &) {
      }
    };
    check = [sent, got] { EXPECT_EQ(*sent, *got); };
    return Bodies{send, send, [c, got] {
                    if (c.recv()) ++*got;
                    c.close();
                    while (c.recv()) ++*got;
                  }};
  });
}

// Selects on both sides, over the same channels in different orders.
TEST(Interleavings, SelectAgainstSelect) {
  for (const size_t capacity : {size_t{0}, size_t{1}}) {
    explore_orders(
        [capacity](auto &check) {
          auto got = std::make_shared<std::vector<int>>();
          const chan<int> a = make_chan<int>(0), b = make_chan<int>(capacity);
          Bodies bodies;
          for (int t = 0; t < 2; ++t) {
            bodies.push_back([=] {
              const chan<int> &first = t == 0 ? a : b, &second = t == 0 ? b : a;
              for (int i = 0; i < 2; ++i) select(on_send(first, 2 * i + t), on_send(second, 2 * i + t));
            });
            bodies.push_back([=] {
              const auto note = [&](std::optional<int> value) { got->push_back(*value); };
              for (int i = 0; i < 2; ++i) select(on_recv(t == 0 ? b : a, note), on_recv(t == 0 ? a : b, note));
            });
          }
          check = [=] {
            expect_numbers(*got, 4);
            expect_idle(a);
            expect_idle(b);
          };
          return bodies;
        },
        15000);
  }
}

TEST(Interleavings, SelectAgainstPlain) {
  explore_orders([](auto &check) {
    auto got = std::make_shared<std::vector<int>>();
    const chan<int> a = make_chan<int>(), b = make_chan<int>();
    check = [=] {
      expect_numbers(*got, 4);
      expect_idle(a);
      expect_idle(b);
    };
    return Bodies{[=] {
                    a.send(0);
                    b.send(1);
                  },
                  [=] {
                    b.send(2);
                    a.send(3);
                  },
                  [=] {
                    const auto note = [&](std::optional<int> value) { got->push_back(*value); };
                    for (int i = 0; i < 4; ++i) select(on_recv(a, note), on_recv(b, note), on_recv(a, note));
                  }};
  });
}

TEST(Interleavings, SelfSelect) {
  explore_orders([](auto &check) {
    const chan<int> c = make_chan<int>();
    auto sum = std::make_shared<int>(0);
    const auto both = [c, sum](int me) {
      return [c, sum, me] {
        for (int i = 0; i < 2; ++i) {
          select(on_send(c, me, [&] { ++*sum; }), on_recv(c, [&](std::optional<int> value) {
                   EXPECT_NE(*value, me);
                   --*sum;
                 }));
        }
      };
    };
    check = [c, sum] {
      EXPECT_EQ(*sum, 0);
      expect_idle(c);
    };
    return Bodies{both(1), both(2)};
  });
}

TEST(Interleavings, SelectAgainstClose) {
  explore_orders([](auto &check) {
    const chan<int> a = make_chan<int>(), b = make_chan<int>();
    const auto wait = [a, b] {
      bool open_a = true, open_b = true;
      while (open_a || open_b) {
        select(on_recv(open_a ? a : chan<int>(), [&](std::optional<int> value) { open_a = value.has_value(); }),
               on_recv(open_b ? b : chan<int>(), [&](std::optional<int> value) { open_b = value.has_value(); }));
      }
    };
    check = [] {};
    return Bodies{wait, wait, [a] { a.close(); }, [b] { b.close(); }};
  });
}

// One of the two is ready at each moment.
TEST(Interleavings, DefaultIsNeverTaken) {
  explore_orders([](auto &check) {
    const chan<int> a = make_chan<int>(1), b = make_chan<int>(1);
    a.send(1);
    check = [] {};
    return Bodies{[=] { select(on_recv(a), on_recv(b), on_default([] { ADD_FAILURE() << "default"; })); },
                  [=] {
                    b.send(1);
                    select(on_recv(a), on_default());
                  }};
  });
}

TEST(Interleavings, Mutex) {
  explore_orders([](auto &check) {
    auto m = std::make_shared<mutex>();
    auto inside = std::make_shared<int>(0);
    const auto work = [m, inside] {
      for (int i = 0; i < 4; ++i) {
        m->lock();
        EXPECT_EQ(++*inside, 1);
        wr_yield();
        wr_yield();
        --*inside;
        m->unlock();
        if (i == 2) wr_yield();
      }
    };
    check = [m] {
      const uint32_t left = m->get()->state;
      EXPECT_TRUE(left == 0 || (left & 63u) == 32u) << left << ": more than that somebody has waited";
    };
    return Bodies{work, work, work};
  });
}

// The last one out frees the mutex; each byte of it is overwritten.
TEST(Interleavings, MutexIsFreedByItsNextOwner) {
  explore_orders([](auto &) {
    struct Object {
      mutex m;
      int references = 3;
    };
    auto *object = new Object;
    const auto drop = [object] {
      object->m.lock();
      wr_yield();
      const bool last = --object->references == 0;
      object->m.unlock();
      if (last) {
        memset(static_cast<void *>(object), 0xff, sizeof *object);
        delete object;
      }
    };
    return Bodies{drop, drop, drop};
  });
}

TEST(Interleavings, RwMutex) {
  explore_orders([](auto &check) {
    auto m = std::make_shared<rw_mutex>();
    auto readers = std::make_shared<int>(0);
    auto writers = std::make_shared<int>(0);
    const auto read = [=] {
      for (int i = 0; i < 2; ++i) {
        m->lock_shared();
        ++*readers;
        EXPECT_EQ(*writers, 0);
        wr_yield();
        --*readers;
        m->unlock_shared();
      }
    };
    const auto write = [=] {
      for (int i = 0; i < 2; ++i) {
        m->lock();
        EXPECT_EQ(++*writers, 1);
        EXPECT_EQ(*readers, 0);
        wr_yield();
        --*writers;
        m->unlock();
      }
    };
    check = [m] { EXPECT_TRUE(m->try_lock()); };
    return Bodies{read, read, write, write};
  });
}

TEST(Interleavings, WaitGroupIsFreedAfterWait) {
  explore_orders([](auto &) {
    auto *g = new wait_group;
    g->add(2);
    return Bodies{[g] { g->done(); }, [g] { g->done(); },
                  [g] {
                    g->wait();
                    memset(static_cast<void *>(g), 0xff, sizeof *g);
                    delete g;
                  }};
  });
}

TEST(Interleavings, CondLosesNoSignal) {
  explore_orders([](auto &check) {
    struct Queue {
      mutex m;
      cond changed{m};
      int held = 0;
    };
    auto q = std::make_shared<Queue>();
    const auto take = [q] {
      q->m.lock();
      q->changed.wait([&] { return q->held > 0; });
      --q->held;
      q->m.unlock();
    };
    const auto put = [q] {
      q->m.lock();
      ++q->held;
      q->changed.signal();
      q->m.unlock();
    };
    check = [q] { EXPECT_EQ(q->held, 0); };
    return Bodies{take, take, put, put};
  });
}

TEST(Interleavings, Semaphore) {
  explore_orders([](auto &check) {
    auto s = std::make_shared<semaphore>(2);
    auto inside = std::make_shared<int>(0);
    const auto use = [=](int n) {
      return [=] {
        for (int i = 0; i < 2; ++i) {
          s->acquire(n);
          EXPECT_LE(*inside += n, 2);
          wr_yield();
          *inside -= n;
          s->release(n);
        }
      };
    };
    check = [s] { EXPECT_TRUE(s->try_acquire(2)); };
    return Bodies{use(1), use(2), use(1)};
  });
}

TEST(Interleavings, Once) {
  explore_orders([](auto &check) {
    auto o = std::make_shared<once>();
    auto runs = std::make_shared<int>(0);
    const auto call = [=] {
      o->call([&] {
        wr_yield();
        ++*runs;
      });
      EXPECT_EQ(*runs, 1);
    };
    check = [] {};
    return Bodies{call, call, call};
  });
}

// The explorer itself: it sees who waits for ever, and it finds an order in which a race goes wrong.
TEST(Explorer, SeesWhoWaitsForEver) {
  const chan<int> c = make_chan<int>();
  EXPECT_FALSE(explore::run(1, {[c] { c.recv(); }, [] {}}));
}

TEST(Explorer, FindsARace) {
  bool lost = false;
  for (uint64_t seed = 1; seed < 50 && !lost; ++seed) {
    int counter = 0;
    const auto increment = [&counter] {
      const int before = counter;
      wr_yield();
      counter = before + 1;
    };
    EXPECT_TRUE(explore::run(seed, {increment, increment}));
    lost = counter == 1;
  }
  EXPECT_TRUE(lost);
}

}  // namespace
}  // namespace warren
