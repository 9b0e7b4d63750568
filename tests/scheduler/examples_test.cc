// Programs as one writes them with fibers: what users copy, so it has to compile and to work.
// Invariant: each ends with a result that is known beforehand.
#include <warren/scheduler.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cerrno>
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

// HTTP/1.1, kept alive: GET /N has a body of N bytes; other paths are never answered.
void serve(const net::conn &c) {
  std::string request;
  std::array<std::byte, 512> buffer;
  while (const size_t n = c.read(buffer)) {
    request.append(reinterpret_cast<const char *>(buffer.data()), n);
    const size_t end = request.find("\r\n\r\n");
    if (end == std::string::npos || request.compare(0, 5, "GET /") != 0) continue;
    if (std::isdigit(static_cast<unsigned char>(request[5])) == 0) continue;
    const std::string body(std::stoul(request.substr(5)), 'x');
    request.erase(0, end + 4);
    c.write("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }
}

// Its body. Two requests over each connection: the first for nothing.
std::string download(const std::string &host, const std::string &path) {
  const net::conn c = net::dial(host);
  c.set_deadline(std::chrono::steady_clock::now() + (path == "never" ? 20ms : 1h));
  std::string answer;
  for (const std::string &each : {std::string("0"), path}) {
    c.write("GET /" + each + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
    answer.clear();
    std::array<std::byte, 512> buffer;
    for (size_t head, length; (head = answer.find("\r\n\r\n")) == std::string::npos ||
                              (length = std::stoul(answer.substr(answer.find(": ") + 2))) > answer.size() - head - 4;) {
      const size_t n = c.read(buffer);
      if (n == 0) return "cut short";
      answer.append(reinterpret_cast<const char *>(buffer.data()), n);
    }
  }
  return answer.substr(answer.find("\r\n\r\n") + 4);
}

// At most four at a time; one of them times out.
TEST(Example, Downloads) {
  run([] {
    const net::listener l = net::listen("127.0.0.1:0");
    go([l] {
      try {
        for (;;) {
          go([c = l.accept()] { serve(c); });
        }
      } catch (const net::error &error) {
        EXPECT_EQ(error.code(), ECANCELED);
      }
    });
    semaphore turns(4);
    std::atomic<int> at_work{0}, timed_out{0};
    std::atomic<size_t> bytes{0};
    wait_group g;
    for (int i = 0; i < 40; ++i) {
      g.go([&, i] {
        turns.acquire();
        EXPECT_LE(++at_work, 4);
        try {
          const std::string body = download(l.addr(), i == 20 ? "never" : std::to_string(i * 100));
          EXPECT_EQ(body, std::string(static_cast<size_t>(i) * 100, 'x'));
          bytes += body.size();
        } catch (const net::error &error) {
          EXPECT_EQ(error.code(), ETIMEDOUT);
          ++timed_out;
        }
        --at_work;
        turns.release();
      });
    }
    g.wait();
    l.close();
    EXPECT_EQ(bytes, (39u * 40 / 2 - 20) * 100);
    EXPECT_EQ(timed_out, 1);
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
