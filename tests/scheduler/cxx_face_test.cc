// run, go, exit_fiber, panics, blocking: the C++ face of fibers, warren/fiber_cxx.h.
// Invariant: each ending of a process happens in a child of the test, whose text and status are compared.
#include <warren/scheduler.h>

#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <poll.h>
#include <unistd.h>

namespace warren {
namespace {

using namespace std::chrono_literals;

TEST(Run, ResultOfMain) {
  EXPECT_EQ(run([] { return 42; }), 42);
  EXPECT_EQ(run([] { return -16; }), -16);
  EXPECT_EQ(run([] {}), 0);
  int value = 0;
  auto counts = [&value]() mutable { return ++value; };
  EXPECT_EQ(run(counts), 1);
  EXPECT_EQ(value, 1);
  EXPECT_THROW(go([] {}), std::system_error) << "no run is under way";
  run([] { EXPECT_THROW(run([] {}), std::system_error) << "a second one"; });
}

TEST(Go, ArgumentsAreCopied) {
  run([] {
    chan<std::string> c = make_chan<std::string>();
    {
      std::string text = "text", referred = "before";
      chan<int> changed = make_chan<int>();
      go(
          [c, changed](const std::string &a, std::string &b, std::unique_ptr<int> p) {
            changed.recv();
            c.send(a + b + std::to_string(*p));
          },
          text, std::ref(referred), std::make_unique<int>(3));
      text = "changed";
      referred = "after";
      changed.send(1);
      EXPECT_EQ(c.recv(), "textafter3");
    }
    struct Adder {
      void add(const chan<std::string> &to, int n) { to.send(std::to_string(sum += n)); }
      int sum = 1;
    } adder;
    go(&Adder::add, &adder, c, 4);
    EXPECT_EQ(c.recv(), "5");
    go(fiber_options{.stack_size = 1 << 20, .name = "named"}, [c] { c.send("named"); });
    EXPECT_EQ(c.recv(), "named");
    go(fiber_options{}, [c](int n) { c.send(std::to_string(n)); }, 9);
    EXPECT_EQ(c.recv(), "9");
    void (*plain)(chan<std::string>) = [](chan<std::string> to) { to.send("function"); };
    go(plain, c);
    EXPECT_EQ(c.recv(), "function");
    EXPECT_THROW(go(fiber_options{.stack_size = size_t{2} << 30}, [] {}), std::system_error);
  });
}

// Fibers that a run leaves behind are in the queues of what outlives it. They get nothing that others of the next run wait for.
class Abandoned : public testing::Test {
 protected:
  static constexpr int kLeft = 3;

  // A run that ends while `kLeft` fibers of wait() wait; `last` is called when they do.
  template <class Wait, class Last>
  static void leave_behind(Wait wait, Last last) {
    run([&] {
      int about_to_wait = 0;
      for (int i = 0; i < kLeft; ++i) {
        go([&] {
          ++about_to_wait;
          wait();
          ADD_FAILURE() << "it goes on in the next run";
        });
      }
      while (about_to_wait != kLeft) yield();
      for (int i = 0; i < 10; ++i) yield();
      last();  // whom it wakes does not run any more
    });
  }

  // A run in which several take turns at f, with a yield inside of what it locks.
  template <class F>
  static void all_come_through(F f) {
    run([&] {
      wait_group all;
      for (int i = 0; i < 5; ++i) {
        all.go([&] {
          for (int round = 0; round < 20; ++round) f();
        });
      }
      all.wait();
    });
  }

  void SetUp() override { before_ = max_procs(1); }
  void TearDown() override { max_procs(before_); }
  int before_ = 0;
};

TEST_F(Abandoned, MutexWaiters) {
  for (const bool unlocked_at_the_end : {true, false}) {
    for (const bool starving : {false, true}) {
      mutex m;
      m.lock();
      leave_behind(
          [&] {
            m.lock();
            m.unlock();
          },
          [&] {
            if (starving) {  // one is woken and comes too late, so that it is to get the mutex next
              usleep(2000);
              m.unlock();
              m.lock();
              yield();
            }
            if (unlocked_at_the_end && !starving) m.unlock();
          });
      if (!unlocked_at_the_end || starving) m.unlock();
      all_come_through([&] {
        m.lock();
        yield();
        m.unlock();
      });
      EXPECT_TRUE(m.try_lock());
    }
  }
}

TEST_F(Abandoned, ReadersAndWriters) {
  for (const bool reads : {true, false}) {
    rw_mutex m;
    m.lock();
    leave_behind([&] { reads ? m.lock_shared() : m.lock(); }, [] {});
    m.unlock();
    all_come_through([&] {
      m.lock();
      yield();
      m.unlock();
      m.lock_shared();
      yield();
      m.unlock_shared();
    });
    m.lock_shared();
    leave_behind([&] { m.lock(); }, [] {});
    m.lock_shared();  // behind nobody
    m.unlock_shared();
    m.unlock_shared();
    EXPECT_TRUE(m.try_lock());
  }
}

TEST_F(Abandoned, SemaphoreAndCondition) {
  semaphore s(0);
  leave_behind([&] { s.acquire(2); }, [] {});
  s.release();
  EXPECT_TRUE(s.try_acquire()) << "behind nobody";
  s.release(2);
  EXPECT_TRUE(s.try_acquire(2));

  mutex m;
  cond c(m);
  leave_behind(
      [&] {
        m.lock();
        c.wait();
      },
      [] {});
  run([&] {
    bool woken = false;
    go([&] {
      m.lock();
      c.wait();
      woken = true;
      m.unlock();
    });
    for (int i = 0; i < 10; ++i) yield();
    c.signal();
    while (!woken) yield();
  });
}

TEST_F(Abandoned, Receivers) {
  for (const size_t capacity : {size_t{0}, size_t{1}}) {
    const chan<int> c = make_chan<int>(capacity), other = make_chan<int>();
    const chan<std::string> strings = make_chan<std::string>(capacity);
    leave_behind([&] { c.recv(); }, [] {});
    leave_behind([&] { select(on_recv(other), on_recv(c)); }, [] {});
    leave_behind([&] { strings.recv(); }, [] {});
    EXPECT_EQ(c.try_send(0), capacity != 0);
    run([&] {
      const chan<int> got = make_chan<int>(3);
      if (capacity != 0) EXPECT_EQ(c.recv(), 0);
      go([&] {
        for (int i = 1; i <= 3; ++i) c.send(i);
        select(on_send(strings, "four"));
        strings.send("five");
      });
      for (int i = 1; i <= 3; ++i) EXPECT_EQ(c.recv(), i);
      EXPECT_EQ(strings.recv(), "four");
      EXPECT_EQ(strings.recv(), "five");
    });
  }
}

// Sent is sent.
TEST_F(Abandoned, Senders) {
  const chan<std::string> c = make_chan<std::string>(1);
  leave_behind(
      [&] {
        c.send("one");
        select(on_send(c, "two"));
      },
      [] {});
  run([&] {
    std::string got;
    while (c.len() != 0) got += *c.recv();
    EXPECT_EQ(got, "onetwooneone");
    c.send("more");
    EXPECT_EQ(c.recv(), "more");
  });
}

TEST_F(Abandoned, ReadersAndAcceptersOfSockets) {
  net::listener listener;
  net::conn there, here;
  run([&] {
    listener = net::listen("127.0.0.1:0");
    there = net::dial(listener.addr());
    here = listener.accept();
  });
  std::byte byte{};
  for (int round = 0; round < 3; ++round) {
    leave_behind([&] { listener.accept(); }, [] {});
    leave_behind([&] { here.read({&byte, 1}); }, [] {});
    if (round == 1) there.write("x");  // wakes one of those that are gone
    run([&] {
      wait_group both;
      both.go([&] { listener.accept(); });
      both.go([&] { EXPECT_EQ(here.read({&byte, 1}), 1u); });
      yield();
      const net::conn another = net::dial(listener.addr());
      if (round != 1) there.write("x");
      both.wait();
    });
  }
  here.close();
  EXPECT_EQ(there.read({&byte, 1}), 0u) << "it was closed although some read from it for ever";
}

// Descends for as long as there are that many bytes, and throws at the bottom.
__attribute__((noinline)) void descend(const char *top, size_t bytes, int &destructors) {
  volatile char frame[1000];
  frame[0] = 1;
  struct Count {
    int &destructors;
    ~Count() { ++destructors; }
  } count{destructors};
  const char *here = static_cast<const char *>(__builtin_frame_address(0));
  if (static_cast<size_t>(top - here) > bytes) throw std::runtime_error("the bottom");
  descend(top, bytes, destructors);
}

TEST(Go, ALargeStackIsThereToItsEnd) {
  run([] {
    constexpr size_t kStack = 32 << 20;
    for (int again = 0; again < 2; ++again) {
      wait_group g;
      g.add(1);
      go(fiber_options{.stack_size = kStack, .name = "deep"}, [&g] {
        int destructors = 0;
        yield();
        try {
          descend(static_cast<const char *>(__builtin_frame_address(0)), kStack - (64 << 10), destructors);
        } catch (const std::runtime_error &error) {
          yield();
          EXPECT_STREQ(error.what(), "the bottom");
        }
        EXPECT_GT(destructors, 1000);
        g.done();
      });
      g.wait();
    }
  });
}

// What one fiber could not deal with another may, on whichever thread.
TEST(Exceptions, PassedFromFiberToFiber) {
  run([] {
    const chan<std::exception_ptr> errors = make_chan<std::exception_ptr>(1);
    for (int i = 0; i < 100; ++i) {
      go([errors, i] {
        try {
          throw std::runtime_error(std::to_string(i));
        } catch (...) {
          yield();
          errors.send(std::current_exception());
          EXPECT_NE(std::current_exception(), nullptr);
        }
        EXPECT_EQ(std::current_exception(), nullptr);
      });
    }
    int sum = 0;
    for (int i = 0; i < 100; ++i) {
      try {
        std::rethrow_exception(*errors.recv());
      } catch (const std::runtime_error &error) {
        yield();
        sum += std::stoi(error.what());
      }
    }
    EXPECT_EQ(sum, 4950);
  });
}

TEST(Go, ClosuresAreDestroyed) {
  const auto token = std::make_shared<int>(1);
  run([&] {
    wait_group g;
    for (int i = 0; i < 100; ++i) g.go([token] {});
    g.wait();
  });
  EXPECT_EQ(token.use_count(), 1);
}

// However a function ends that a wait group started, what it holds is gone before it is counted as done; and one that could not
// be started is not counted.
TEST(Go, AWaitGroupCountsEachEnd) {
  const auto token = std::make_shared<int>(1);
  wait_group never_started;
  EXPECT_THROW(never_started.go([token] {}), std::system_error);
  never_started.wait();
  EXPECT_EQ(token.use_count(), 1);
  run([&] {
    for (int round = 0; round < 20; ++round) {
      wait_group g;
      for (int i = 0; i < 10; ++i) {
        g.go([token, i] {
          if (i % 3 == 1) exit_fiber();
          if (i % 3 == 2) yield();
        });
      }
      g.wait();
      EXPECT_EQ(token.use_count(), 1);
    }
  });
}

// Destructors and deferred calls run, catch (const std::exception &) does not see it, and nothing counts as in flight
// after.
TEST(ExitFiber, Unwinds) {
  run([] {
    chan<std::string> c = make_chan<std::string>(10);
    const auto token = std::make_shared<int>(1);
    go([c, token] {
      defer last([c] { c.close(); });
      defer first([c] { c.send("deferred"); });
      try {
        exit_fiber();
      } catch (const std::exception &) {
        ADD_FAILURE();
      }
      ADD_FAILURE();
    });
    EXPECT_EQ(c.recv(), "deferred");
    EXPECT_EQ(c.recv(), std::nullopt);
    while (fiber_count() != 1) yield();
    EXPECT_EQ(token.use_count(), 1);
    EXPECT_EQ(std::uncaught_exceptions(), 0);
  });
  bool unwound = false;
  std::thread([&unwound] {
    defer note([&unwound] { unwound = true; });
    exit_fiber();
  }).join();
  EXPECT_TRUE(unwound) << "a plain thread ends likewise";
}

// Parked inside catch and inside a destructor during unwinding, on several threads.
TEST(Exceptions, TravelWithTheirFiber) {
  run([] {
    wait_group g;
    for (int t = 0; t < 8; ++t) {
      g.go([t] {
        for (int i = 0; i < 200; ++i) {
          try {
            defer waits([] {
              EXPECT_EQ(std::uncaught_exceptions(), 1);
              sleep_for(1us);
              EXPECT_EQ(std::uncaught_exceptions(), 1);
            });
            throw std::runtime_error(std::to_string(t));
          } catch (const std::runtime_error &) {
            yield();
            try {
              throw;
            } catch (const std::runtime_error &error) {
              EXPECT_EQ(error.what(), std::to_string(t));
              yield();
            }
          }
          EXPECT_EQ(std::uncaught_exceptions(), 0);
        }
      });
    }
    g.wait();
  });
}

TEST(Blocking, GivesItsResult) {
  run([] {
    EXPECT_EQ(blocking([] { return 5; }), 5);
    int n = 0;
    int &same = blocking([&]() -> int & { return n; });
    EXPECT_EQ(&same, &n);
    blocking([&] { n = 1; });
    EXPECT_EQ(n, 1);
    EXPECT_THROW(blocking([] { throw std::runtime_error("inside"); }), std::runtime_error);
    EXPECT_EQ(std::uncaught_exceptions(), 0);
  });
}

__attribute__((noinline)) void look_for_cheese(int shops) {
  if (shops == 0) panic("out of cheese");
  asm volatile("");
}

__attribute__((noinline)) void buy_cheese(int shops) {
  look_for_cheese(shops);
  asm volatile("");
}

// The exception has unwound the fiber when it reaches its root; the report shows where it came from.
TEST(FiberDeathTest, APanicShowsTheFramesItLeft) {
  const auto run_panicking = [] {
    run([] {
      go([] {
        defer said([] { fprintf(stderr, "deferred\n"); });
        buy_cheese(0);
      });
      sleep_for(1h);
    });
  };
  EXPECT_EXIT(run_panicking(), testing::ExitedWithCode(2),
              "^deferred\npanic: out of cheese\n\nfiber [0-9]+ .running.:\n(    .*\n)*    .*look_for_cheese.*\n"
              "(    .*\n)*    .*buy_cheese");
  try {
    buy_cheese(0);
  } catch (const panic_error &error) {
    EXPECT_GT(error.frame_count(), 1);
  }
}

__attribute__((noinline)) void look_for_wine(int bottles) {
  if (bottles == 0) throw std::runtime_error("out of wine");
  if (bottles == 1) throw 1;
  std::string().at(static_cast<size_t>(bottles));
  asm volatile("");
}

__attribute__((noinline)) void buy_wine(int bottles) {
  look_for_wine(bottles);
  asm volatile("");
}

// Neither these exceptions nor the catch that ends the process know where they were thrown.
TEST(FiberDeathTest, AnyExceptionShowsTheFramesItLeft) {
  const auto run_throwing = [](int bottles) {
    run([bottles] {
      go(fiber_options{.name = "waiter"}, [] { sleep_for(1h); });
      go([bottles] {
        defer said([] { fprintf(stderr, "deferred\n"); });
        try {
          buy_cheese(0);
        } catch (const std::exception &) {  // leaves no trace
        }
        yield();
        buy_wine(bottles);
      });
      sleep_for(1h);
    });
  };
  const auto report = [](const char *text) {
    return std::string("^deferred\npanic: .*") + text +
           ".*\n\nfiber [0-9]+ .running.:\n(    .*\n)*    .*look_for_wine.*\n    .*buy_wine.*\n(    .*\n)*"
           "\n(.*\n)*fiber [0-9]+ .sleep.*. waiter:";
  };
  EXPECT_EXIT(run_throwing(0), testing::ExitedWithCode(2), report("out of wine"));
  EXPECT_EXIT(run_throwing(1), testing::ExitedWithCode(2), report("unknown type"));
  EXPECT_EXIT(run_throwing(2), testing::ExitedWithCode(2), report("basic_string"));
  EXPECT_EXIT(run([] {
                try {
                  buy_wine(0);
                } catch (...) {
                  throw;
                }
              }),
              testing::ExitedWithCode(2), "^panic: out of wine\n\nfiber 1 .running. main:\n    ");
}

__attribute__((noinline)) void sell_cheese(int kind) noexcept {
  if (kind == 0) buy_cheese(0);
  if (kind == 1) buy_wine(0);
  exit_fiber();
}

__attribute__((noinline)) void throw_while_unwinding() {
  struct Throws {
    ~Throws() noexcept(false) { throw std::runtime_error("second"); }
  } throws;
  buy_wine(0);
}

// What the language ends by std::terminate. The program's own handler comes after the report, and may wait.
TEST(FiberDeathTest, TerminateShowsTheFibers) {
  const auto run_terminating = [](int kind) {
    run([kind] {
      go(fiber_options{.name = "waiter"}, [] { sleep_for(1h); });
      go([kind] {
        yield();
        kind < 3 ? sell_cheese(kind) : throw_while_unwinding();
      });
      sleep_for(1h);
    });
  };
  const auto report = [](const char *text, const char *function) {
    return std::string("^fatal error: std::terminate: ") + text + "\n\nfiber [0-9]+ .running.:\n(    .*\n)*    .*" + function +
           ".*\n(    .*\n)*\n(.*\n)*fiber [0-9]+ .sleep.*. waiter:";
  };
  EXPECT_EXIT(run_terminating(0), testing::KilledBySignal(SIGABRT), report("out of cheese", "buy_cheese"));
  EXPECT_EXIT(run_terminating(1), testing::KilledBySignal(SIGABRT), report("out of wine", "sell_cheese"));
  EXPECT_EXIT(run_terminating(2), testing::KilledBySignal(SIGABRT), report("exit_fiber where nothing may be thrown", "sell_cheese"));
  EXPECT_EXIT(run_terminating(3), testing::KilledBySignal(SIGABRT), report("second", "throw_while_unwinding"));
  EXPECT_EXIT(run([] { std::terminate(); }), testing::KilledBySignal(SIGABRT),
              "^fatal error: std::terminate: no exception is being handled\n\nfiber 1 .running. main:\n    ");
  const auto with_own_handler = [&run_terminating](int kind) {
    std::set_terminate([] {
      sleep_for(1us);
      fprintf(stderr, "mine\n");
      _exit(7);
    });
    if (kind < 0) {
      run([] { std::thread([] { std::terminate(); }).join(); });
    } else {
      run_terminating(kind);
    }
  };
  EXPECT_EXIT(with_own_handler(1), testing::ExitedWithCode(7), report("out of wine", "sell_cheese") + "(\n.*)*\nmine\n$");
  EXPECT_EXIT(with_own_handler(-1), testing::ExitedWithCode(7), "^mine\n$");
  const auto terminating_again = [&run_terminating] {
    std::set_terminate([] {
      fprintf(stderr, "again\n");
      std::set_terminate(nullptr);
      std::terminate();
    });
    run_terminating(1);
  };
  EXPECT_EXIT(terminating_again(), testing::KilledBySignal(SIGABRT), report("out of wine", "sell_cheese") + "(\n.*)*\nagain\n");
}

void handler_one() { _exit(1); }
void handler_two() { _exit(2); }

TEST(Run, TerminateHandlersAreThoseOfTheProgramAfterwards) {
  const std::terminate_handler before = std::set_terminate(handler_one);
  for (int i = 0; i < 2; ++i) {
    run([] { EXPECT_NE(std::get_terminate(), handler_one); });
    EXPECT_EQ(std::get_terminate(), handler_one);
  }
  run([] { std::set_terminate(handler_two); });
  EXPECT_EQ(std::get_terminate(), handler_two) << "what the program sets meanwhile stays";
  run([] {
    EXPECT_THROW(run([] {}), std::system_error);
    EXPECT_NE(std::get_terminate(), handler_two) << "a run that is refused changes nothing";
  });
  EXPECT_EQ(std::get_terminate(), handler_two);
  std::set_terminate(before);
}

TEST(FiberDeathTest, Panics) {
  const auto run_panicking = [](auto f) {
    run([f] {
      go(f);
      sleep_for(1h);
    });
  };
  EXPECT_EXIT(run_panicking([] { panic("out of cheese"); }), testing::ExitedWithCode(2), "^panic: out of cheese");
  EXPECT_EXIT(run_panicking([] { throw std::runtime_error("thrown"); }), testing::ExitedWithCode(2),
              "^panic: .*thrown");
  EXPECT_EXIT(run_panicking([] { throw 5; }), testing::ExitedWithCode(2), "^panic: ");
  EXPECT_EXIT(run([] { panic("in main"); }), testing::ExitedWithCode(2), "^panic: in main");
  EXPECT_EXIT(run([] {
                chan<int> c = make_chan<int>();
                c.close();
                c.close();
              }),
              testing::ExitedWithCode(2), "^panic: close of closed channel");
  EXPECT_EXIT(run_panicking([] {
                defer said([] { fprintf(stderr, "deferred\n"); });
                panic("after");
              }),
              testing::ExitedWithCode(2), "deferred\npanic: after");
}

TEST(FiberDeathTest, Deadlocks) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "it has a thread of its own, which might wake somebody";
#endif
  EXPECT_EXIT(run([] { make_chan<int>().recv(); }), testing::ExitedWithCode(2),
              "fatal error: all fibers are asleep - deadlock!");
  EXPECT_EXIT(run([] { chan<int>().send(1); }), testing::ExitedWithCode(2), "chan send \\(nil chan\\)");
  EXPECT_EXIT(run([] { chan<int>().recv(); }), testing::ExitedWithCode(2), "chan receive \\(nil chan\\)");
  EXPECT_EXIT(run([] { select(); }), testing::ExitedWithCode(2), "select \\(no cases\\)");
  EXPECT_EXIT(run([] { select(on_recv(chan<int>())); }), testing::ExitedWithCode(2), "select");
  EXPECT_EXIT(run([] {
                mutex m;
                m.lock();
                m.lock();
              }),
              testing::ExitedWithCode(2), "sync.Mutex.Lock");
  EXPECT_EXIT(run([] {
                wait_group g;
                g.add(1);
                g.wait();
              }),
              testing::ExitedWithCode(2), "sync.WaitGroup.Wait");
  EXPECT_EXIT(run([] { exit_fiber(); }), testing::ExitedWithCode(2), "deadlock!");
}

// The function of a timer that was due before the run has a thread of its own.
TEST(FiberDeathTest, NoDeadlockWhileATimersFunctionRuns) {
  EXPECT_EXIT(
      {
        const auto c = make_chan<int>();
        after_func(0ms, [c] {
          usleep(200000);
          c.send(7);
        });
        usleep(50000);
        exit(run([&] { return *c.recv(); }));
      },
      testing::ExitedWithCode(7), "");
}

// A thread sleeps until a timer is due; the timer is stopped, and nothing will wake that thread for an hour.
TEST(FiberDeathTest, DeadlockOnceTheLastTimerIsStopped) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "it has a thread of its own, which might wake somebody";
#endif
  for (const bool locked : {false, true}) {
    EXPECT_EXIT(run([locked] {
                  max_procs(2);
                  if (locked) lock_os_thread();
                  timer t(std::chrono::hours(1));
                  usleep(20000);  // in which it falls asleep; if it does not, there is nothing to test
                  t.stop();
                  t.c.recv();
                }),
                testing::ExitedWithCode(2), "deadlock!");
  }
}

// The same for one that sleeps without end, as long as somebody waits for a descriptor.
TEST(FiberDeathTest, DeadlockOnceNobodyWaitsForADescriptor) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "it has a thread of its own, which might wake somebody";
#endif
  for (const bool locked : {false, true}) {
    EXPECT_EXIT(run([locked] {
                  alarm(10);
                  max_procs(2);
                  if (locked) lock_os_thread();
                  int ends[2];
                  if (pipe(ends) != 0) exit(1);
                  go([&] { wait_fd(ends[0], POLLIN); });
                  usleep(20000);  // as above
                  wr_close_fd(ends[0]);
                  chan<int>().recv();
                }),
                testing::ExitedWithCode(2), "deadlock!");
  }
}

}  // namespace
}  // namespace warren
