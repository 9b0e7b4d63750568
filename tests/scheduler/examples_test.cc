// Programs as one writes them with fibers: what users copy, so it has to compile and to work.
// Invariant: each ends with a result that is known beforehand.
#include <warren/scheduler.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

namespace warren {
namespace {

using namespace std::chrono_literals;

// Each prime is a fiber that drops its multiples.
TEST(Example, PrimeSieve) {
  std::vector<int> primes;
  run([&primes] {
    chan<int> numbers = make_chan<int>();
    go([numbers] {
      for (int i = 2;; ++i) numbers.send(i);
    });
    for (int i = 0; i < 100; ++i) {
      const int prime = *numbers.recv();
      primes.push_back(prime);
      chan<int> rest = make_chan<int>();
      go([numbers, rest, prime] {
        for (int n : numbers) {
          if (n % prime != 0) rest.send(n);
        }
      });
      numbers = rest;
    }
  });
  EXPECT_EQ(primes[0], 2);
  EXPECT_EQ(primes[24], 97);
  EXPECT_EQ(primes[99], 541);
}

TEST(Example, WorkerPool) {
  const int sum = run([] {
    chan<int> jobs = make_chan<int>(), results = make_chan<int>(10);
    wait_group workers;
    for (int i = 0; i < 4; ++i) {
      workers.go([&] {
        for (int job : jobs) results.send(job * job);
      });
    }
    go([&] {
      for (int i = 1; i <= 100; ++i) jobs.send(i);
      jobs.close();
      workers.wait();
      results.close();
    });
    int total = 0;
    for (int result : results) total += result;
    return total;
  });
  EXPECT_EQ(sum, 338350);
}

chan<int> merge(std::vector<chan<int>> inputs) {
  chan<int> out = make_chan<int>();
  go([out, inputs] {
    wait_group g;
    for (const chan<int> &in : inputs) {
      g.go([in, out] {
        for (int n : in) out.send(n);
      });
    }
    g.wait();
    out.close();
  });
  return out;
}

TEST(Example, Pipeline) {
  run([] {
    const auto generate = [](int from, int to) {
      chan<int> out = make_chan<int>();
      go([=] {
        for (int i = from; i < to; ++i) out.send(i);
        out.close();
      });
      return out;
    };
    const auto square = [](chan<int> in) {
      chan<int> out = make_chan<int>();
      go([=] {
        for (int n : in) out.send(n * n);
        out.close();
      });
      return out;
    };
    std::vector<int> all;
    for (int n : merge({square(generate(0, 50)), square(generate(50, 100))})) all.push_back(n);
    std::sort(all.begin(), all.end());
    ASSERT_EQ(all.size(), 100u);
    EXPECT_EQ(all[99], 9801);
  });
}

TEST(Example, Timeout) {
  run([] {
    chan<std::string> answer = make_chan<std::string>(1);
    go([answer] {
      sleep_for(1h);
      answer.send("too late");
    });
    bool timed_out = false;
    select(on_recv(answer, [](std::optional<std::string>) { ADD_FAILURE(); }),
           on_recv(after(5ms), [&](std::optional<time_point>) { timed_out = true; }));
    EXPECT_TRUE(timed_out);
  });
}

TEST(Example, ContextEndsWorkers) {
  run([] {
    auto [ctx, cancel] = with_cancel(background());
    std::atomic<int> ended{0};
    wait_group g;
    for (int i = 0; i < 10; ++i) {
      g.go([&ended, ctx = ctx] {
        chan<std::monostate> done = ctx.done();
        ticker tick(100us);
        for (bool stop = false; !stop;) {
          select(on_recv(done, [&](std::optional<std::monostate>) { stop = true; }), on_recv(tick.c, [] {}));
        }
        ended++;
      });
    }
    sleep_for(2ms);
    cancel();
    g.wait();
    EXPECT_EQ(ended, 10);
  });
}

#if defined(__SANITIZE_THREAD__)
constexpr int kChainLength = 1000;  // it has room for some 8000
#else
constexpr int kChainLength = 10000;
#endif

// Ten thousand fibers, one after the other.
TEST(Example, DaisyChain) {
  const int n = run([] {
    constexpr int kLength = kChainLength;
    chan<int> leftmost = make_chan<int>();
    chan<int> left = leftmost;
    for (int i = 0; i < kLength; ++i) {
      chan<int> right = make_chan<int>();
      go([left, right] { left.send(1 + *right.recv()); });
      left = right;
    }
    go([left] { left.send(1); });
    return *leftmost.recv();
  });
  EXPECT_EQ(n, kChainLength + 1);
}

// Threads outside of run() and fibers inside it talk over one channel.
TEST(Example, ThreadsAndFibers) {
  chan<int> questions = make_chan<int>(), answers = make_chan<int>(3);
  std::thread asks([&] {
    for (int i = 0; i < 100; ++i) questions.send(i);
    questions.close();
  });
  const int sum = run([&] {
    wait_group g;
    for (int i = 0; i < 3; ++i) {
      g.go([&] {
        for (int question : questions) answers.send(2 * question);
      });
    }
    go([&] {
      g.wait();
      answers.close();
    });
    int total = 0;
    for (int answer : answers) total += answer;
    return total;
  });
  asks.join();
  EXPECT_EQ(sum, 9900);
}

}  // namespace
}  // namespace warren
