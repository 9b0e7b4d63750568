// The local run queue: order, overflow, and that thieves and the owner never get an item twice or lose one.
#include "scheduler/run_queue.h"

#include <atomic>
#include <deque>
#include <gtest/gtest.h>
#include <random>
#include <thread>
#include <vector>

namespace {

using warren::scheduler::Batch;
using warren::scheduler::RunQueue;

struct Item {
  Item *next = nullptr;
  int number = 0;
  std::atomic<int> seen{0};
};
using Queue = RunQueue<Item>;

std::vector<Item> items(int count) {
  std::vector<Item> all(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) all[static_cast<size_t>(i)].number = i;
  return all;
}

// As the scheduler does where a fiber is made ready.
void put_next(Queue &queue, Item *item, bool alone, Batch<Item> &overflow) {
  Item *kicked = queue.exchange_next(item, alone);
  if (kicked != nullptr) queue.put(kicked, overflow);
}

TEST(RunQueue, TheRingIsFirstInFirstOut) {
  for (const bool alone : {true, false}) {
    auto all = items(100);
    Queue queue;
    Batch<Item> overflow;
    EXPECT_TRUE(queue.empty());
    for (Item &item : all) queue.put(&item, overflow);
    EXPECT_EQ(queue.size(), 100u);
    for (Item &item : all) {
      const auto taken = queue.take(alone);
      EXPECT_EQ(taken.item, &item);
      EXPECT_FALSE(taken.inherits);
    }
    EXPECT_EQ(queue.take(alone).item, nullptr);
    EXPECT_TRUE(overflow.empty());
  }
}

TEST(RunQueue, TheNextOneRunsFirstAndKicksItsForerunnerToTheTail) {
  for (const bool alone : {true, false}) {
    auto all = items(3);
    Queue queue;
    Batch<Item> overflow;
    queue.put(&all[0], overflow);
    put_next(queue, &all[1], alone, overflow);
    put_next(queue, &all[2], alone, overflow);
    const auto first = queue.take(alone);
    EXPECT_EQ(first.item, &all[2]);
    EXPECT_TRUE(first.inherits);
    EXPECT_EQ(queue.take(alone).item, &all[0]);
    EXPECT_EQ(queue.take(alone).item, &all[1]);
  }
}

TEST(RunQueue, AFullRingSendsItsOlderHalfAndTheNewOneAway) {
  auto all = items(257);
  Queue queue;
  Batch<Item> overflow;
  for (Item &item : all) queue.put(&item, overflow);
  EXPECT_EQ(overflow.count, 129u);
  for (int i = 0; i < 128; ++i) EXPECT_EQ(overflow.pop()->number, i);
  EXPECT_EQ(overflow.pop()->number, 256);
  EXPECT_TRUE(overflow.empty());
  for (int i = 128; i < 256; ++i) EXPECT_EQ(queue.take(false).item->number, i);
  EXPECT_TRUE(queue.empty());
}

TEST(RunQueue, AThiefTakesHalfRoundedUp) {
  for (int count = 1; count <= 256; ++count) {
    auto all = items(count);
    Queue queue;
    Queue thief;
    Batch<Item> overflow;
    for (Item &item : all) queue.put(&item, overflow);
    const Item *got = thief.steal_from(queue, [] { return false; });
    ASSERT_NE(got, nullptr);
    EXPECT_EQ(thief.size() + 1, static_cast<uint32_t>((count + 1) / 2));
    EXPECT_EQ(queue.size(), static_cast<uint32_t>(count / 2));
  }
}

TEST(RunQueue, TheNextOneIsStolenOnlyWhenTheThiefMay) {
  auto all = items(1);
  Queue queue;
  Queue thief;
  Batch<Item> overflow;
  put_next(queue, &all[0], false, overflow);
  EXPECT_EQ(thief.steal_from(queue, [] { return false; }), nullptr);
  EXPECT_EQ(thief.steal_from(queue, [] { return true; }), &all[0]);
  EXPECT_TRUE(queue.empty());
}

// A thousand random steps against a deque, with the next slot as an item before its front.
TEST(RunQueue, ModelOfTheOwnersSide) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  auto all = items(20000);
  size_t used = 0;
  Queue queue;
  std::deque<Item *> ring;
  Item *next = nullptr;
  Batch<Item> overflow;
  const auto model_put = [&](Item *item) {
    if (ring.size() < 256) return ring.push_back(item);
    for (int i = 0; i < 128; ++i) {
      ASSERT_EQ(overflow.pop(), ring.front());
      ring.pop_front();
    }
    ASSERT_EQ(overflow.pop(), item);
  };
  for (int step = 0; step < 20000; ++step) {
    const bool alone = random() % 2 == 0;
    const unsigned act = random() % 16;
    if (act < 8) {
      Item *item = &all[used++];
      queue.put(item, overflow);
      model_put(item);
    } else if (act < 10) {
      Item *item = &all[used++];
      put_next(queue, item, alone, overflow);
      if (next != nullptr) model_put(next);
      next = item;
    } else {
      Item *item = queue.take(alone).item;
      if (next != nullptr) {
        ASSERT_EQ(item, next);
        next = nullptr;
      } else if (!ring.empty()) {
        ASSERT_EQ(item, ring.front());
        ring.pop_front();
      } else {
        ASSERT_EQ(item, nullptr);
      }
    }
    ASSERT_TRUE(overflow.empty());
    ASSERT_EQ(queue.size(), ring.size() + (next != nullptr ? 1 : 0));
    if (used > all.size() - 2) break;
  }
}

TEST(RunQueue, EachItemIsTakenOnceWithThievesAtWork) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  constexpr int kCount = 200000;
  auto all = items(kCount);
  Queue queue;
  std::atomic<int> taken{0};
  std::atomic<bool> twice{false};
  const auto note = [&](Item *item) {
    if (item->seen.fetch_add(1) != 0) twice = true;
    taken.fetch_add(1);
  };
  std::vector<std::thread> thieves;
  for (unsigned t = 0; t < 3; ++t) {
    thieves.emplace_back([&, t] {
      std::mt19937 random(seed + t);
      Queue mine;
      while (taken.load() < kCount && !twice.load()) {
        const bool may = random() % 2 == 0;
        if (Item *item = mine.steal_from(queue, [may] { return may; })) note(item);
        while (Item *item = mine.take(false).item) note(item);
        if (random() % 8 == 0) std::this_thread::yield();
      }
    });
  }
  std::mt19937 random(seed);
  Batch<Item> overflow;
  for (int i = 0; i < kCount;) {
    for (auto burst = random() % 400; burst != 0 && i < kCount; --burst, ++i) {
      if (random() % 3 == 0) {
        put_next(queue, &all[static_cast<size_t>(i)], false, overflow);
      } else {
        queue.put(&all[static_cast<size_t>(i)], overflow);
      }
      while (Item *item = overflow.pop()) note(item);
    }
    for (auto burst = random() % 300; burst != 0; --burst) {
      Item *item = queue.take(false).item;
      if (item == nullptr) break;
      note(item);
    }
  }
  while (taken.load() < kCount && !twice.load()) {
    if (Item *item = queue.take(false).item) note(item);
  }
  for (auto &thief : thieves) thief.join();
  EXPECT_FALSE(twice.load());
  for (const Item &item : all) ASSERT_EQ(item.seen.load(), 1) << item.number;
}

}  // namespace
