// Stacks by number: inspect/stack_table. Invariant: equal stacks have equal numbers, and frames_of gives back what was recorded.
#include "inspect/stack_table.h"

#include "allocator/heap.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

namespace warren::inspect {
namespace {

using Stack = std::vector<void *>;

uint32_t record(const Stack &stack) { return stack_table::record(stack.data(), static_cast<unsigned>(stack.size())); }

Stack made(uintptr_t seed, size_t frames) {
  Stack stack;
  for (size_t i = 0; i < frames; ++i) stack.push_back(reinterpret_cast<void *>((seed + 1) * 0x10001 + i * 16));
  return stack;
}

void expect_kept(uint32_t number, const Stack &stack) {
  const stack_table::Frames found = stack_table::frames_of(number);
  ASSERT_EQ(found.count, stack.size());
  EXPECT_TRUE(std::equal(stack.begin(), stack.end(), found.address));
}

class StackTable : public testing::Test {
 protected:
  static void SetUpTestSuite() { ASSERT_TRUE(heap::set_up()); }
};

TEST_F(StackTable, NoFramesHaveNoNumber) {
  EXPECT_EQ(record({}), 0u);
  EXPECT_EQ(stack_table::frames_of(0).count, 0u);
  EXPECT_EQ(stack_table::frames_of(123456789).count, 0u);
}

TEST_F(StackTable, NumbersFollowOneAnother) {
  const uint32_t before = stack_table::count();
  std::vector<uint32_t> numbers;
  for (uintptr_t i = 0; i < 20000; ++i) numbers.push_back(record(made(i, 1 + i % 60)));
  EXPECT_EQ(stack_table::count(), before + 20000);
  for (uintptr_t i = 0; i < 20000; ++i) {
    EXPECT_EQ(numbers[i], before + 1 + i);
    EXPECT_EQ(record(made(i, 1 + i % 60)), numbers[i]);
    expect_kept(numbers[i], made(i, 1 + i % 60));
  }
}

TEST_F(StackTable, PrefixesAreOtherStacks) {
  Stack stack = made(999999, 30);
  std::set<uint32_t> numbers;
  for (; !stack.empty(); stack.pop_back()) numbers.insert(record(stack));
  EXPECT_EQ(numbers.size(), 30u);
}

TEST_F(StackTable, ThreadsThatRecordTheSameAgree) {
  constexpr uintptr_t kStacks = 5000;
  constexpr size_t kThreads = 4;
  std::vector<std::vector<uint32_t>> numbers(kThreads, std::vector<uint32_t>(kStacks));
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uintptr_t i = 0; i < kStacks; ++i) numbers[t][i] = record(made(1000000 + i, 1 + i % 20));
    });
  }
  for (auto &thread : threads) thread.join();
  for (size_t t = 1; t < kThreads; ++t) EXPECT_EQ(numbers[t], numbers[0]);
  EXPECT_EQ(std::set<uint32_t>(numbers[0].begin(), numbers[0].end()).size(), kStacks);
  for (uintptr_t i = 0; i < kStacks; ++i) expect_kept(numbers[0][i], made(1000000 + i, 1 + i % 20));
}

}  // namespace
}  // namespace warren::inspect
