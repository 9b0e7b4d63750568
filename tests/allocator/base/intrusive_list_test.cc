// The list through its elements: allocator/base/intrusive_list.h. Run by base_test.
// Invariant: after each step the list, walked both ways, is the same as a std::list; seeds are printed.
#include "allocator/base/intrusive_list.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <random>

namespace warren {
namespace {

struct Element {
  Element *next = nullptr;
  Element *prev = nullptr;
};

void expect_same(const IntrusiveList<Element> &list, const std::list<Element *> &model) {
  ASSERT_EQ(list.empty(), model.empty());
  const Element *before = nullptr;
  const Element *at = list.front();
  for (const Element *expected : model) {
    ASSERT_EQ(at, expected);
    ASSERT_EQ(at->prev, before);
    before = at;
    at = at->next;
  }
  ASSERT_EQ(at, nullptr);
}

TEST(IntrusiveList, EmptyGivesNothing) {
  IntrusiveList<Element> list;
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.front(), nullptr);
  EXPECT_EQ(list.pop_front(), nullptr);
}

TEST(IntrusiveList, RemovalAtEachPlace) {
  for (size_t removed = 0; removed < 3; ++removed) {
    Element elements[3];
    IntrusiveList<Element> list;
    std::list<Element *> model;
    for (Element &element : elements) {
      list.push_front(&element);
      model.push_front(&element);
    }
    expect_same(list, model);
    list.remove(&elements[removed]);
    model.remove(&elements[removed]);
    expect_same(list, model);
    EXPECT_EQ(elements[removed].next, nullptr);
    EXPECT_EQ(elements[removed].prev, nullptr);
  }
}

TEST(IntrusiveList, RandomOperationsAgreeWithAModel) {
  const unsigned seed = std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  Element elements[24];
  IntrusiveList<Element> list;
  std::list<Element *> model;
  for (int step = 0; step < 5000; ++step) {
    Element *element = &elements[random() % std::size(elements)];
    const bool member = std::find(model.begin(), model.end(), element) != model.end();
    if (random() % 8 == 0) {
      Element *expected = model.empty() ? nullptr : model.front();
      ASSERT_EQ(list.pop_front(), expected);
      if (!model.empty()) model.pop_front();
    } else if (member) {
      list.remove(element);
      model.remove(element);
    } else {
      list.push_front(element);
      model.push_front(element);
    }
    expect_same(list, model);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace warren
