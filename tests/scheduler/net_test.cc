// net: warren/net.h, on tasks of either kind, over the loopback interface.
// Invariant: each test takes a free port; deadlines are waited for, never measured from above.
#include "tests/scheduler/tasks.h"

#include <cerrno>
#include <cstring>
#include <set>
#include <string>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

// In place of libc's: the name "slow.test" is found, but only when the test says so.
std::atomic<bool> slow_one_may_answer{false};
std::atomic<int> slow_ones_asked{0}, lists_made{0}, lists_freed{0};

template <class F>
F *of_libc(F *, const char *name) {
  return reinterpret_cast<F *>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" int getaddrinfo(const char *name, const char *port, const addrinfo *hints, addrinfo **out) {
  const bool slow = name != nullptr && strcmp(name, "slow.test") == 0 && (hints->ai_flags & AI_NUMERICHOST) == 0;
  if (slow) {
    ++slow_ones_asked;
    while (!slow_one_may_answer) usleep(1000);
  }
  const int result = of_libc(getaddrinfo, "getaddrinfo")(slow ? "127.0.0.1" : name, port, hints, out);
  if (result == 0) ++lists_made;
  return result;
}

extern "C" void freeaddrinfo(addrinfo *list) noexcept {
  ++lists_freed;
  of_libc(freeaddrinfo, "freeaddrinfo")(list);
}

namespace warren {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

std::string read_all(const net::conn &c) {
  std::string all;
  std::array<std::byte, 4096> buffer;
  while (const size_t n = c.read(buffer)) all.append(reinterpret_cast<const char *>(buffer.data()), n);
  return all;
}

template <class F>
int code_of(F f) {
  try {
    f();
  } catch (const net::error &error) {
    return error.code();
  }
  return 0;
}

TASK_TEST(Net, Echo) {
  const net::listener l = net::listen("127.0.0.1:0");
  EXPECT_EQ(l.addr().rfind("127.0.0.1:", 0), 0u);
  EXPECT_NE(l.addr(), "127.0.0.1:0");
  Tasks tasks;
  tasks.spawn([l] {
    const net::conn c = l.accept();
    c.write(read_all(c));
  });
  const net::conn c = net::dial(l.addr());
  EXPECT_EQ(c.remote_addr(), l.addr());
  EXPECT_NE(c.local_addr(), "");
  c.write("hello");
  c.write(std::string_view());
  c.write(", world");
  c.shutdown_write();
  EXPECT_EQ(read_all(c), "hello, world");
  EXPECT_EQ(c.read(std::span<std::byte>()), 0u);
}

// More than the kernel's buffers hold, in both directions at once.
TASK_TEST(Net, LargeWritesWait) {
  constexpr size_t kBytes = 8 << 20;
  const net::listener l = net::listen("127.0.0.1:0");
  std::string sent(kBytes, '\0');
  for (size_t i = 0; i < kBytes; ++i) sent[i] = static_cast<char>(i * 31 >> 3);
  Tasks tasks;
  tasks.spawn([&] {
    const net::conn c = l.accept();
    Tasks both;
    both.spawn([&] {
      c.write(sent);
      c.shutdown_write();
    });
    EXPECT_TRUE(read_all(c) == sent);
  });
  const net::conn c = net::dial(l.addr());
  Tasks both;
  both.spawn([&] {
    c.write(sent);
    c.shutdown_write();
  });
  EXPECT_TRUE(read_all(c) == sent);
}

TASK_TEST(Net, ManyConnections) {
  const net::listener l = net::listen("127.0.0.1:0");
  constexpr int kConnections = 40, kRounds = 50;
  Tasks tasks;
  tasks.spawn([&] {
    Tasks servers;
    for (int i = 0; i < kConnections; ++i) {
      servers.spawn([c = l.accept()] {
        std::array<std::byte, 16> buffer;
        while (const size_t n = c.read(buffer)) c.write(std::span(buffer).first(n));
      });
    }
  });
  for (int i = 0; i < kConnections; ++i) {
    tasks.spawn([&, i] {
      const net::conn c = net::dial(l.addr());
      for (int round = 0; round < kRounds; ++round) {
        const std::string text = std::to_string(i * kRounds + round);
        c.write(text);
        std::string got;
        std::array<std::byte, 16> buffer;
        while (got.size() < text.size()) {
          const size_t n = c.read(buffer);
          ASSERT_NE(n, 0u);
          got.append(reinterpret_cast<const char *>(buffer.data()), n);
        }
        EXPECT_EQ(got, text);
      }
    });
  }
}

TASK_TEST(Net, Deadlines) {
  const net::listener l = net::listen("127.0.0.1:0");
  const net::conn c = net::dial(l.addr());
  const net::conn other = l.accept();
  std::array<std::byte, 16> buffer;
  const time_point deadline = steady_clock::now() + 5ms;
  c.set_deadline(deadline);
  EXPECT_EQ(code_of([&] { c.read(buffer); }), ETIMEDOUT);
  EXPECT_GE(steady_clock::now(), deadline);
  EXPECT_EQ(code_of([&] { c.read(buffer); }), ETIMEDOUT) << "it stays";
  EXPECT_EQ(code_of([&] { c.write("x"); }), ETIMEDOUT);
  c.set_deadline(steady_clock::now() - 1s);
  EXPECT_EQ(code_of([&] { c.read(buffer); }), ETIMEDOUT);
  c.set_deadline(net::never);
  other.write("x");
  EXPECT_EQ(c.read(buffer), 1u);

  // Set while somebody waits.
  Tasks tasks;
  std::atomic<bool> waits{false};
  tasks.spawn([&] {
    waits = true;
    std::array<std::byte, 16> mine;
    EXPECT_EQ(code_of([&] { c.read(mine); }), ETIMEDOUT);
  });
  wait_until([&] { return waits.load(); });
  let_others_run();
  c.set_deadline(steady_clock::now());
  tasks.join();

  l.set_deadline(steady_clock::now() + 2ms);
  EXPECT_EQ(code_of([&] { l.accept(); }), ETIMEDOUT);
  EXPECT_EQ(code_of([&] { net::dial(l.addr(), steady_clock::now() - 1s); }), ETIMEDOUT);
}

TASK_TEST(Net, CloseWakesAll) {
  const net::listener l = net::listen("127.0.0.1:0");
  const net::conn c = net::dial(l.addr());
  const net::conn other = l.accept();
  std::atomic<int> waiting{0};
  {
    Tasks tasks;
    for (int i = 0; i < 3; ++i) {
      tasks.spawn([&] {
        std::array<std::byte, 16> buffer;
        waiting++;
        EXPECT_EQ(code_of([&] { c.read(buffer); }), ECANCELED);
      });
      tasks.spawn([&] {
        waiting++;
        EXPECT_EQ(code_of([&] { l.accept(); }), ECANCELED);
      });
    }
    wait_until([&] { return waiting == 6; });
    let_others_run();
    c.close();
    l.close();
  }
  c.close();
  EXPECT_EQ(code_of([&] { c.write("x"); }), ECANCELED);
  EXPECT_EQ(code_of([&] { l.accept(); }), ECANCELED);
  EXPECT_EQ(c.remote_addr(), l.addr()) << "still known";
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(other.read(buffer), 0u);
  EXPECT_EQ(code_of([] { net::conn().write("x"); }), ECANCELED);
}

// A descriptor's number is not used again while somebody is in the middle of an operation on it.
TASK_TEST(Net, CloseAgainstRead) {
  const net::listener l = net::listen("127.0.0.1:0");
  for (int round = 0; round < (kFibers ? 200 : 10); ++round) {  // a thread notices a close within 50 ms
    net::conn c = net::dial(l.addr());
    net::conn other = l.accept();
    Tasks tasks;
    tasks.spawn([c] {
      std::array<std::byte, 16> buffer;
      try {
        while (c.read(buffer) != 0) {
        }
      } catch (const net::error &error) {
        EXPECT_TRUE(error.code() == ECANCELED || error.code() == ECONNRESET) << error.what();
      }
    });
    tasks.spawn([c] {
      if (fiber_id() % 2 == 0) yield();
      c.close();
    });
    other.write("some text");
    c = {};
  }
}

// A socket of the kernel's, where it matters which bytes travel together.
class Peer {
 public:
  explicit Peer(const net::listener &l) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(std::stoi(l.addr().substr(l.addr().rfind(':') + 1))));
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
  }
  ~Peer() { close(fd_); }
  Peer(const Peer &) = delete;
  Peer &operator=(const Peer &) = delete;

  void send(std::string_view text, int flags = 0) const {
    EXPECT_EQ(::send(fd_, text.data(), text.size(), flags), static_cast<ssize_t>(text.size()));
  }
  void end() const { EXPECT_EQ(shutdown(fd_, SHUT_WR), 0); }

 private:
  int fd_ = socket(AF_INET, SOCK_STREAM, 0);
};

// A read that did not fill its buffer makes the next one wait for an event. What comes together with what it took has none
// of its own.
TASK_TEST(Net, ShortReadsMissNothing) {
  const net::listener l = net::listen("127.0.0.1:0");
  std::array<std::byte, 64> buffer;
  for (int i = 0; i < 20; ++i) {
    const Peer ends(l);
    const net::conn c = l.accept();
    ends.send("first");
    EXPECT_EQ(c.read(buffer), 5u);
    ends.send("second");
    EXPECT_EQ(c.read(buffer), 6u);
    ends.send("last", MSG_MORE);
    ends.end();
    EXPECT_EQ(c.read(buffer), 4u);
    EXPECT_EQ(c.read(buffer), 0u);
    EXPECT_EQ(c.read(buffer), 0u);
  }
  for (int i = 0; i < 20; ++i) {
    const Peer urgent(l);
    const net::conn c = l.accept();
    urgent.send("first");
    EXPECT_EQ(c.read(buffer), 5u);
    urgent.send("ab!", MSG_OOB | MSG_MORE);
    urgent.send("cde");
    std::string text;
    while (text.size() < 5) {
      const size_t n = c.read(buffer);
      if (n == 0) break;
      text.append(reinterpret_cast<const char *>(buffer.data()), n);
    }
    EXPECT_EQ(text, "abcde");
  }
}

// A deadline that ended such a wait leaves what comes afterwards to the next read.
TASK_TEST(Net, ShortReadThenDeadline) {
  const net::listener l = net::listen("127.0.0.1:0");
  std::array<std::byte, 64> buffer;
  const Peer peer(l);
  const net::conn c = l.accept();
  for (int i = 0; i < 20; ++i) {
    peer.send("some");
    EXPECT_EQ(c.read(buffer), 4u);
    c.set_deadline(steady_clock::now() + 1ms);
    EXPECT_EQ(code_of([&] { c.read(buffer); }), ETIMEDOUT);
    peer.send("more");
    EXPECT_EQ(code_of([&] { c.read(buffer); }), ETIMEDOUT);
    c.set_deadline(steady_clock::time_point::max());
    EXPECT_EQ(c.read(buffer), 4u);
  }
}

TASK_TEST(Net, Failures) {
  EXPECT_EQ(code_of([] { net::listen("no port"); }), EINVAL);
  EXPECT_EQ(code_of([] { net::listen("::1:80"); }), EINVAL);
  for (const char *port : {"", "65536", "99999", "18446744073709551617", " 80", "+80", "-1"}) {
    EXPECT_EQ(code_of([&] { net::dial(std::string("127.0.0.1:") + port); }), EINVAL) << port;
  }
  EXPECT_EQ(code_of([] { net::listen("192.0.2.1:0"); }), EADDRNOTAVAIL);
  std::string gone;
  {
    const net::listener l = net::listen("127.0.0.1:0");
    EXPECT_EQ(code_of([&] { net::listen(l.addr()); }), EADDRINUSE);
    gone = l.addr();
  }
  EXPECT_EQ(code_of([&] { net::dial(gone); }), ECONNREFUSED);
  try {
    net::dial(gone);
  } catch (const std::system_error &error) {
    EXPECT_EQ(error.code(), std::errc::connection_refused);
    EXPECT_NE(std::string(error.what()).find(gone), std::string::npos);
  }
  const net::listener again = net::listen(gone);
  const net::conn c = net::dial(again.addr());
  {
    const net::conn other = again.accept();
    c.write("unread");
  }
  std::array<std::byte, 16> buffer;
  const int end = code_of([&] { EXPECT_EQ(c.read(buffer), 0u); });
  EXPECT_TRUE(end == 0 || end == ECONNRESET);
  int broken = 0;
  for (int i = 0; i < 1000 && broken == 0; ++i) broken = code_of([&] { c.write(std::string(1000, 'x')); });
  EXPECT_TRUE(broken == EPIPE || broken == ECONNRESET) << "an error and no signal";
}

TASK_TEST(Net, WhatCanBeWritten) {
  const net::listener l = net::listen("127.0.0.1:0");
  const net::conn c = net::dial(l.addr());
  const net::conn other = l.accept();
  std::array<std::byte, 2> bytes{std::byte{'a'}, std::byte{'b'}};
  c.write({});
  c.write({bytes.data(), bytes.size()});
  c.write(bytes);
  c.write("c");
  c.write(std::string("d"));
  c.write(std::string_view("e"));
  c.close();
  EXPECT_EQ(read_all(other), "ababcde");
}

TASK_TEST(Net, AllInterfaces) {
  const net::listener l = net::listen(":0");
  const std::string port = l.addr().substr(l.addr().rfind(':'));
  Tasks tasks;
  tasks.spawn([l] { l.accept().write("any"); });
  EXPECT_EQ(read_all(net::dial("127.0.0.1" + port)), "any");
}

TASK_TEST(Net, Names) {
  const net::listener l = net::listen("localhost:0");
  const std::string port = l.addr().substr(l.addr().rfind(':'));
  Tasks tasks;
  tasks.spawn([l] { l.accept().write("named"); });
  EXPECT_EQ(read_all(net::dial("localhost" + port)), "named");
}

// The thread that asks for the name goes on alone; what it gets is freed.
TASK_TEST(Net, ADeadlineCutsTheSearchForANameShort) {
  slow_one_may_answer = false;
  const int asked = slow_ones_asked, made = lists_made;
  const auto dial = [] { EXPECT_EQ(code_of([] { net::dial("slow.test:80", steady_clock::now() + 20ms); }), ETIMEDOUT); };
  while (slow_ones_asked == asked) dial();  // under load the deadline may come before the thread
  Tasks several;
  for (int i = 0; i < 10; ++i) several.spawn(dial);
  several.join();
  slow_one_may_answer = true;
  wait_until([asked, made] { return lists_made - made >= slow_ones_asked - asked && lists_made == lists_freed; });
}

TASK_TEST(Net, ANameIsFoundBeforeTheDeadline) {
  const net::listener l = net::listen("127.0.0.1:0");
  const std::string port = l.addr().substr(l.addr().rfind(':'));
  slow_one_may_answer = false;
  Tasks tasks;
  tasks.spawn([l] { l.accept().write("named"); });
  tasks.spawn([] {
    let_others_run();
    slow_one_may_answer = true;
  });
  EXPECT_EQ(read_all(net::dial("slow.test" + port, steady_clock::now() + 1h)), "named");
  EXPECT_EQ(code_of([] { net::dial("none.invalid:80", steady_clock::now() + 1h); }), ENOENT);
  EXPECT_EQ(code_of([] { net::dial("127.0.0.1:noservice", steady_clock::now() + 1h); }), EINVAL);
  wait_until([] { return lists_made == lists_freed; });
}

}  // namespace
}  // namespace warren
