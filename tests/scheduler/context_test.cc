// Contexts: warren/context.h, on tasks of either kind.
// Invariant: ends are forced by cancel, or by deadlines that are waited for; nothing depends on how long.
#include "tests/scheduler/tasks.h"

#include <memory>
#include <string>

namespace warren {
namespace {

using namespace std::chrono_literals;

bool ended(const context &ctx) {
  std::monostate out;
  const bool closed = ctx.done().try_recv(out) == recv_status::closed;
  EXPECT_EQ(closed, ctx.err() != context_error::none);
  return closed;
}

TASK_TEST(Context, Background) {
  const context root = background();
  EXPECT_EQ(root.err(), context_error::none);
  EXPECT_FALSE(root.done());
  EXPECT_FALSE(root.deadline());
  EXPECT_EQ(root.value<int>("key"), 0);
}

TASK_TEST(Context, CancelReachesAllBelow) {
  auto [ctx, cancel] = with_cancel(background());
  auto [child, cancel_child] = with_cancel(ctx);
  const context value = with_value(child, "k", 1);
  auto [grandchild, cancel_grandchild] = with_cancel(value);
  auto [other, cancel_other] = with_cancel(ctx);
  EXPECT_FALSE(ended(ctx) || ended(child) || ended(value) || ended(grandchild) || ended(other));
  cancel_child();
  EXPECT_FALSE(ended(ctx) || ended(other));
  EXPECT_TRUE(ended(child) && ended(value) && ended(grandchild));
  EXPECT_EQ(grandchild.err(), context_error::canceled);
  cancel_child();
  cancel();
  cancel();
  EXPECT_TRUE(ended(ctx) && ended(other));
  auto [late, cancel_late] = with_cancel(ctx);
  EXPECT_TRUE(ended(late)) << "below what has ended";
  EXPECT_EQ(late.err(), context_error::canceled);
}

TASK_TEST(Context, WakesWhoWaits) {
  auto [ctx, cancel] = with_cancel(background());
  std::atomic<int> woken{0};
  Tasks tasks;
  for (int t = 0; t < 5; ++t) {
    auto [child, cancel_child] = with_cancel(ctx);
    tasks.spawn([&woken, child = child] {
      EXPECT_EQ(child.done().recv(), std::nullopt);
      EXPECT_EQ(child.err(), context_error::canceled);
      woken++;
    });
  }
  let_others_run();
  EXPECT_EQ(woken, 0);
  cancel();
  tasks.join();
  EXPECT_EQ(woken, 5);
}

TASK_TEST(Context, Deadline) {
  const time_point start = std::chrono::steady_clock::now();
  auto [ctx, cancel] = with_timeout(background(), 5ms);
  EXPECT_GE(*ctx.deadline(), start + 5ms);
  EXPECT_EQ(ctx.done().recv(), std::nullopt);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 5ms);
  EXPECT_EQ(ctx.err(), context_error::deadline_exceeded);
  cancel();
  EXPECT_EQ(ctx.err(), context_error::deadline_exceeded) << "the first end counts";

  auto [past, cancel_past] = with_deadline(background(), start);
  EXPECT_TRUE(ended(past));
  EXPECT_EQ(past.err(), context_error::deadline_exceeded);
  auto [negative, cancel_negative] = with_timeout(background(), -1h);
  EXPECT_TRUE(ended(negative));

  auto [far, cancel_far] = with_timeout(background(), std::chrono::hours::max());
  EXPECT_FALSE(ended(far));
  auto [inner, cancel_inner] = with_timeout(far, 1h);
  auto [later, cancel_later] = with_timeout(inner, 2h);
  EXPECT_EQ(later.deadline(), inner.deadline()) << "a parent's deadline is not put off";
  cancel_inner();
  EXPECT_EQ(later.err(), context_error::canceled);
  EXPECT_FALSE(ended(far));
}

TASK_TEST(Context, DeadlineOfAParent) {
  auto [ctx, cancel] = with_timeout(background(), 3ms);
  auto [child, cancel_child] = with_cancel(ctx);
  EXPECT_EQ(child.done().recv(), std::nullopt);
  EXPECT_EQ(child.err(), context_error::deadline_exceeded);
}

TASK_TEST(Context, CancelAgainstDeadline) {
  for (int i = 0; i < 500; ++i) {
    auto [ctx, cancel] = with_timeout(background(), std::chrono::microseconds(i % 20));
    auto [child, cancel_child] = with_timeout(ctx, std::chrono::microseconds(i % 13));
    if (i % 2 == 0) yield();
    cancel();
    EXPECT_EQ(child.done().recv(), std::nullopt);
    EXPECT_NE(child.err(), context_error::none);
  }
}

struct Key {
  int number;
  bool operator==(const Key &) const = default;
};

TASK_TEST(Context, ValuesOfAnyAlignment) {
  struct alignas(128) Wide {
    int number;
    bool operator==(const Wide &) const = default;
  };
  context ctx = with_value(background(), Wide{1}, Wide{2});
  EXPECT_EQ(ctx.value<Wide>(Wide{1}).number, 2);
  EXPECT_EQ(ctx.value<Wide>(Wide{2}).number, 0);
}

TASK_TEST(Context, Values) {
  context ctx = with_value(background(), Key{1}, std::string("one"));
  ctx = with_value(ctx, Key{2}, 2);
  auto [below, cancel] = with_cancel(ctx);
  context inner = with_value(below, Key{1}, std::string("uno"));
  EXPECT_EQ(inner.value<std::string>(Key{1}), "uno") << "the nearest";
  EXPECT_EQ(below.value<std::string>(Key{1}), "one");
  EXPECT_EQ(inner.value<int>(Key{2}), 2);
  EXPECT_EQ(inner.value<int>(Key{3}), 0) << "none";
  EXPECT_EQ(inner.value<int>(2), 0) << "a key of another type";
  EXPECT_THROW(inner.value<double>(Key{2}), panic_error);
  std::string key = "user";
  context named = with_value(inner, "user", "ann");
  EXPECT_EQ(named.value<std::string>(key), "ann") << "texts are compared by what they say";
  EXPECT_EQ(named.value<std::string_view>(std::string_view("user")), "ann");
  EXPECT_STREQ(named.value<const char *>("user"), "ann");
  const auto shared = std::make_shared<int>(5);
  {
    context holder = with_value(background(), 1, shared);
    EXPECT_EQ(*holder.value<std::shared_ptr<int>>(1), 5);
    EXPECT_EQ(shared.use_count(), 2);
  }
  EXPECT_EQ(shared.use_count(), 1);
}

TASK_TEST(Context, WithoutCancel) {
  auto [ctx, cancel] = with_cancel(with_value(background(), 1, 10));
  const context free = without_cancel(ctx);
  cancel();
  EXPECT_EQ(free.err(), context_error::none);
  EXPECT_FALSE(free.done());
  EXPECT_EQ(free.value<int>(1), 10);
  auto [below, cancel_below] = with_cancel(free);
  EXPECT_FALSE(ended(below));
}

TASK_TEST(Context, AfterFunc) {
  chan<int> ran = make_chan<int>(4);
  auto [ctx, cancel] = with_cancel(background());
  auto stop_first = after_func(ctx, [ran] { ran.send(1); });
  auto stop_second = after_func(ctx, [ran] { ran.send(2); });
  after_func(ctx, [ran] { ran.send(3); });  // the handle is not needed
  EXPECT_TRUE(stop_first());
  EXPECT_FALSE(stop_first());
  cancel();
  int sum = *ran.recv();
  sum += *ran.recv();
  EXPECT_EQ(sum, 5);
  EXPECT_FALSE(stop_second());
  after_func(ctx, [ran] { ran.send(4); });
  EXPECT_EQ(ran.recv(), 4) << "at once, below what has ended";
}

// A channel outlives the handle of its context, and still closes.
TASK_TEST(Context, ChannelOutlivesItsContext) {
  auto [ctx, cancel] = with_cancel(background());
  chan<std::monostate> done = with_cancel(ctx).ctx.done();
  chan<std::monostate> timed = with_timeout(background(), 2ms).ctx.done();
  std::monostate out;
  EXPECT_EQ(done.try_recv(out), recv_status::empty);
  cancel();
  EXPECT_EQ(done.recv(), std::nullopt);
  EXPECT_EQ(timed.recv(), std::nullopt);
}

// Deep chains and wide trees end, and go, without recursion.
TASK_TEST(Context, DeepAndWide) {
  auto [ctx, cancel] = with_cancel(background());
  std::vector<context> chain{ctx};
  for (int i = 0; i < 20000; ++i) {
    chain.push_back(i % 3 == 0 ? with_value(chain.back(), i, i) : with_cancel(chain.back()).ctx);
  }
  for (int i = 0; i < 20000; ++i) chain.push_back(with_cancel(ctx).ctx);
  context last = chain[20000];
  chain.clear();
  EXPECT_EQ(last.value<int>(0), 0);
  EXPECT_FALSE(ended(last));
  cancel();
  EXPECT_TRUE(ended(last));
  last = background();
}

// Children come and go while their parent ends.
TASK_TEST(Context, ChildrenAgainstTheEnd) {
  for (int round = 0; round < 200; ++round) {
    auto [ctx, cancel] = with_cancel(background());
    Tasks tasks;
    for (int t = 0; t < 3; ++t) {
      tasks.spawn([ctx = ctx, t] {
        for (int i = 0; i < 20; ++i) {
          auto [child, cancel_child] = with_cancel(ctx);
          auto [grandchild, cancel_grandchild] = with_timeout(child, 1h);
          if ((i + t) % 3 == 0) cancel_child();
          if ((i + t) % 5 == 0) grandchild.done();
          yield();
        }
      });
    }
    if (round % 2 == 0) let_others_run(10);
    cancel();
  }
}

}  // namespace
}  // namespace warren
