// Channels: warren/channel.h, on tasks of either kind.
// Invariant: no assertion depends on time; where order matters it is forced by the state of the channel.
#include "tests/scheduler/tasks.h"

#include <array>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>

namespace warren {
namespace {

template <class F>
std::string panic_of(F f) {
  try {
    f();
  } catch (const panic_error &error) {
    return error.what();
  }
  return "(none)";
}

TASK_TEST(Channel, NilAndFresh) {
  chan<int> nil;
  EXPECT_EQ(nil.len(), 0u);
  EXPECT_EQ(nil.cap(), 0u);
  EXPECT_FALSE(nil);
  int out = 7;
  EXPECT_EQ(nil.try_recv(out), recv_status::empty);
  EXPECT_FALSE(nil.try_send(1));
  EXPECT_EQ(out, 7);
  EXPECT_EQ(panic_of([&] { nil.close(); }), "close of nil channel");
  chan<int> c = make_chan<int>(3);
  EXPECT_TRUE(c);
  EXPECT_EQ(c.cap(), 3u);
  EXPECT_EQ(make_chan<int>().cap(), 0u);
  EXPECT_EQ(panic_of([] { make_chan<int>(SIZE_MAX); }), "makechan: size out of range");
  EXPECT_EQ(panic_of([] { make_chan<std::array<char, 512>>(SIZE_MAX / 256); }), "makechan: size out of range");
}

TASK_TEST(Channel, BufferedIsFifoAndWraps) {
  for (size_t capacity : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{64}}) {
    chan<int> c = make_chan<int>(capacity);
    int sent = 0, received = 0;
    for (int round = 0; round < 50; ++round) {
      while (c.len() < capacity) c.send(sent++);
      EXPECT_FALSE(c.try_send(-1));
      const size_t drained = 1 + static_cast<size_t>(round) % capacity;
      for (size_t i = 0; i < drained; ++i) EXPECT_EQ(c.recv(), received++);
    }
    EXPECT_EQ(c.len(), static_cast<size_t>(sent - received));
  }
}

TASK_TEST(Channel, ClosedDrainsThenEnds) {
  chan<int> c = make_chan<int>(4);
  c.send(1);
  c.send(2);
  c.close();
  EXPECT_EQ(panic_of([&] { c.send(3); }), "send on closed channel");
  EXPECT_EQ(panic_of([&] { c.try_send(3); }), "send on closed channel");
  EXPECT_EQ(panic_of([&] { c.close(); }), "close of closed channel");
  EXPECT_EQ(c.recv(), 1);
  int out = 0;
  EXPECT_EQ(c.try_recv(out), recv_status::received);
  EXPECT_EQ(out, 2);
  EXPECT_EQ(c.try_recv(out), recv_status::closed);
  EXPECT_EQ(out, 2) << "untouched";
  EXPECT_EQ(c.recv(), std::nullopt);
  for (int value : c) ADD_FAILURE() << value;
}

TASK_TEST(Channel, UnbufferedMeets) {
  chan<int> c = make_chan<int>();
  std::atomic<bool> sent{false};
  Tasks tasks;
  tasks.spawn([&] {
    c.send(42);
    sent = true;
  });
  let_others_run();
  EXPECT_FALSE(sent.load());
  EXPECT_EQ(c.recv(), 42);
  wait_until([&] { return sent.load(); });
  int out;
  EXPECT_EQ(c.try_recv(out), recv_status::empty);
  EXPECT_FALSE(c.try_send(1)) << "nobody waits";
}

TASK_TEST(Channel, CloseWakesReceiversAndSenders) {
  chan<int> empty = make_chan<int>();
  chan<std::string> full = make_chan<std::string>(1);
  full.send("first");
  std::atomic<int> ended{0}, panicked{0};
  Tasks tasks;
  for (int i = 0; i < 4; ++i) {
    tasks.spawn([&] {
      EXPECT_EQ(empty.recv(), std::nullopt);
      ended++;
    });
    tasks.spawn([&] {
      EXPECT_EQ(panic_of([&] { full.send("a text too long for the string's own room"); }), "send on closed channel");
      panicked++;
    });
  }
  let_others_run();
  EXPECT_EQ(ended + panicked, 0);
  empty.close();
  full.close();
  tasks.join();
  EXPECT_EQ(ended, 4);
  EXPECT_EQ(panicked, 4);
  EXPECT_EQ(full.recv(), "first");
  EXPECT_EQ(full.recv(), std::nullopt);
}

// The sum and the order a sender put its values in survive any number of senders and receivers.
TASK_TEST(Channel, NothingLostNothingTwice) {
  for (size_t capacity : {size_t{0}, size_t{1}, size_t{10}, size_t{1000}}) {
    constexpr int kSenders = 4, kReceivers = 4, kEach = 2000;
    chan<int> c = make_chan<int>(capacity);
    std::array<std::vector<int>, kReceivers> got;
    Tasks tasks;
    std::atomic<int> senders{kSenders};
    for (int s = 0; s < kSenders; ++s) {
      tasks.spawn([&, s] {
        for (int i = 0; i < kEach; ++i) c.send(s * kEach + i);
        if (--senders == 0) c.close();
      });
    }
    for (std::vector<int> &mine : got) {
      tasks.spawn([&] {
        for (int value : c) mine.push_back(value);
      });
    }
    tasks.join();
    std::vector<int> all;
    for (const std::vector<int> &mine : got) {
      std::map<int, int> last;
      for (int value : mine) {
        const auto [entry, fresh] = last.try_emplace(value / kEach, value);
        EXPECT_TRUE(fresh || entry->second < value) << "out of order";
        entry->second = value;
      }
      all.insert(all.end(), mine.begin(), mine.end());
    }
    std::sort(all.begin(), all.end());
    ASSERT_EQ(all.size(), size_t{kSenders * kEach});
    for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], static_cast<int>(i));
  }
}

struct Counted {
  static inline std::atomic<int> alive{0};
  explicit Counted(int n) : number(std::make_unique<int>(n)) { alive++; }
  Counted(Counted &&other) noexcept : number(std::move(other.number)) { alive++; }
  Counted &operator=(Counted &&) noexcept = default;
  ~Counted() { alive--; }
  std::unique_ptr<int> number;
};

TASK_TEST(Channel, MoveOnlyValuesAreDestroyedOnce) {
  {
    chan<Counted> c = make_chan<Counted>(4);
    for (int i = 0; i < 4; ++i) c.send(Counted(i));
    EXPECT_FALSE(c.try_send(Counted(9)));
    EXPECT_EQ(Counted::alive, 4);
    EXPECT_EQ(*c.recv()->number, 0);
    EXPECT_EQ(*c.recv()->number, 1);
    EXPECT_EQ(Counted::alive, 2);
    chan<Counted> other = c;
    c = {};
    EXPECT_EQ(Counted::alive, 2);
  }
  EXPECT_EQ(Counted::alive, 0) << "a channel that is dropped destroys what it holds";
  {
    chan<Counted> c = make_chan<Counted>();
    Tasks tasks;
    tasks.spawn([c] {
      for (int i = 0; i < 100; ++i) c.send(Counted(i));
      c.close();
    });
    int next = 0;
    for (Counted &value : c) EXPECT_EQ(*value.number, next++);
    EXPECT_EQ(next, 100);
  }
  EXPECT_EQ(Counted::alive, 0);
}

// Moving it may throw, or it is huge: it travels in a box.
struct Fussy {
  explicit Fussy(int n) : number(n) {}
  Fussy(const Fussy &other) : number(other.number) {}
  Fussy &operator=(const Fussy &) = default;
  int number;
};
static_assert(detail::element<Fussy>::boxed);
static_assert(!detail::element<std::string>::boxed);

TASK_TEST(Channel, IsARangeForOlderAlgorithms) {
  const chan<int> c = make_chan<int>(3);
  for (const int i : {1, 2, 3}) c.send(i);
  c.close();
  EXPECT_EQ(std::accumulate(c.begin(), c.end(), 0), 6);
  static_assert(std::is_constructible_v<std::vector<int>, chan<int>::iterator, chan<int>::iterator>);
}

TASK_TEST(Channel, ElementsOfAllKinds) {
  const auto through = [](auto value) {
    using T = decltype(value);
    chan<T> c = make_chan<T>(1);
    c.send(value);
    return *c.recv();
  };
  EXPECT_EQ(through(char{7}), 7);
  EXPECT_EQ(through(short{-7}), -7);
  EXPECT_EQ(through(7.5f), 7.5f);
  EXPECT_EQ(through(std::string(100, 'x')), std::string(100, 'x'));
  EXPECT_EQ(through(std::string("short")), "short") << "a string that points into itself";
  EXPECT_EQ(through(Fussy(5)).number, 5);
  std::array<int, 1000> large{};
  std::iota(large.begin(), large.end(), 0);
  EXPECT_EQ(through(large), large);
  std::array<char, 3> odd{1, 2, 3};
  EXPECT_EQ(through(odd), odd);
  struct Empty {};
  through(Empty{});
  struct alignas(64) Wide {
    int number;
  };
  EXPECT_EQ(through(Wide{3}).number, 3);
  chan<Fussy> undrained = make_chan<Fussy>(2);
  undrained.send(Fussy(1));
  chan<std::shared_ptr<int>> shared = make_chan<std::shared_ptr<int>>(1);
  const auto pointer = std::make_shared<int>(3);
  shared.send(pointer);
  EXPECT_EQ(pointer.use_count(), 2);
  shared = {};
  EXPECT_EQ(pointer.use_count(), 1);
}

TASK_TEST(Channel, ChannelsOfChannels) {
  chan<chan<int>> requests = make_chan<chan<int>>();
  Tasks tasks;
  tasks.spawn([&] {
    int n = 0;
    for (chan<int> &reply : requests) reply.send(n++);
  });
  for (int i = 0; i < 20; ++i) {
    chan<int> reply = make_chan<int>(static_cast<size_t>(i % 2));
    requests.send(reply);
    EXPECT_EQ(reply.recv(), i);
  }
  requests.close();
}

// A value that is there is received: `empty` would be wrong whatever close() does at the same time.
TASK_TEST(Channel, TryReceiveAgainstClose) {
  for (int round = 0; round < 2000; ++round) {
    chan<int> c = make_chan<int>(1);
    c.send(1);
    Tasks tasks;
    tasks.spawn([c] { c.close(); });
    int out = 0;
    EXPECT_EQ(c.try_recv(out), recv_status::received);
    EXPECT_EQ(out, 1);
  }
}

// A daisy chain: each value passes through all stages in order.
TASK_TEST(Channel, OrderThroughAChain) {
  for (size_t capacity : {size_t{0}, size_t{10}}) {
    chan<int> first = make_chan<int>(capacity);
    chan<int> last = first;
    Tasks tasks;
    for (int stage = 0; stage < 10; ++stage) {
      chan<int> next = make_chan<int>(capacity);
      tasks.spawn([from = last, to = next] {
        for (int value : from) to.send(value + 1);
        to.close();
      });
      last = next;
    }
    tasks.spawn([first] {
      for (int i = 0; i < 500; ++i) first.send(i);
      first.close();
    });
    int expected = 10;
    for (int value : last) EXPECT_EQ(value, expected++);
    EXPECT_EQ(expected, 510);
  }
}

// The C functions, with values that are bytes.
TASK_TEST(Channel, CFunctions) {
  wr_chan *c = wr_chan_make(12, 2);
  struct Value {
    int a, b, c;
  } value{1, 2, 3}, out{};
  EXPECT_EQ(wr_chan_send(c, &value), WR_CHAN_DONE);
  EXPECT_EQ(wr_chan_try_send(c, &value), WR_CHAN_DONE);
  EXPECT_EQ(wr_chan_try_send(c, &value), WR_CHAN_WOULD_BLOCK);
  EXPECT_EQ(wr_chan_len(c), 2u);
  EXPECT_EQ(wr_chan_recv(c, nullptr), WR_CHAN_DONE) << "dropped";
  EXPECT_EQ(wr_chan_recv(c, &out), WR_CHAN_DONE);
  EXPECT_EQ(out.c, 3);
  EXPECT_EQ(wr_chan_try_recv(c, &out), WR_CHAN_WOULD_BLOCK);
  EXPECT_EQ(wr_chan_close(c), WR_CHAN_DONE);
  EXPECT_EQ(wr_chan_close(c), WR_CHAN_CLOSED);
  EXPECT_EQ(wr_chan_close(nullptr), WR_CHAN_NIL);
  EXPECT_EQ(wr_chan_recv(c, &out), WR_CHAN_CLOSED);
  EXPECT_EQ(out.a, 0) << "the zero value";
  EXPECT_EQ(wr_chan_send(c, &value), WR_CHAN_CLOSED);
  wr_chan_ref(c);
  wr_chan_unref(c);
  wr_chan_unref(c);
}

}  // namespace
}  // namespace warren
