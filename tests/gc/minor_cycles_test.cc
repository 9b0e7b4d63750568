// Minor cycles: old objects keep what they are given, old garbage goes in a full cycle, and what has become of marks in between. The tests
// named Always run with gc_minor=always and the collector's checks of itself, so three of four cycles are minor ones; those named Auto
// with gctrace=1, and count the lines.
// Invariant: nothing depends on one object dying; of many, some strays may stay.
#include "allocator/base/stop_gate.h"
#include "gc/cycle.h"
#include "gc/heap.h"
#include "gc/phase.h"

#include <gtest/gtest.h>

#include "seed.h"

#include <cstdio>
#include <cstring>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace warren::gc {
namespace {

struct Node {
  Node *next;
  uint64_t value;
  uint64_t check;
};

Node *make_node(uint64_t value, Node *next = nullptr) {
  auto *node = static_cast<Node *>(heap::allocate(sizeof(Node), Kind::kScan));
  *node = {next, value, ~value};
  return node;
}

bool is_whole(const Node *node, uint64_t value) { return node != nullptr && node->value == value && node->check == ~value; }

// Nothing that the collector reads points to the objects.
uintptr_t hide(const void *object) { return ~address_of(object); }

Slot slot_of(const void *object) {
  Slot slot;
  if (!find_slot(address_of(object), slot)) ADD_FAILURE() << "no object of the collector's";
  return slot;
}

// Deeper than the callers of what it calls leave anything on the stack.
template <class Do>
WARREN_NOINLINE void far_below(Do what) {
  volatile char room[4096];
  room[0] = 0;
  what();
  room[4095] = room[0];
}

// Of a large object that is none yet, made in this phase.
Span *make_span(phase::Phase phase) {
  const stop_gate::Inside gate;
  phase::current.store(phase);
  Span *span = new_span(PageCount{4}, SizeClass{0}, false);
  phase::current.store(phase::Phase::kSweep);
  return span;
}

constexpr size_t kTable = 512;  // words: a page of the OS

Node **make_tables(std::vector<Node **> &tables, size_t count) {
  auto **all = static_cast<Node **>(heap::allocate(count * sizeof(Node *), Kind::kScan));
  for (size_t i = 0; i < count; ++i) {
    tables.push_back(static_cast<Node **>(heap::allocate(kTable * sizeof(Node *) - 8, Kind::kScan)));
    all[i] = reinterpret_cast<Node *>(tables.back());
  }
  return all;
}

TEST(Always, OldObjectsKeepWhatTheyAreGiven) {
  Random random(seed());
  std::vector<Node **> tables;
  Node **volatile root = make_tables(tables, 200);
  std::vector<std::vector<uint64_t>> wanted(tables.size(), std::vector<uint64_t>(kTable - 1));
  uint64_t value = 0;
  for (int round = 0; round < 24; ++round) {
    // Few of the tables: most of them stay as they are, from one cycle to the next.
    for (int i = 0; i < 40; ++i) {
      const size_t table = random() % tables.size(), at = random() % (kTable - 1);
      ++value;
      tables[table][at] = make_node(value, make_node(value));
      wanted[table][at] = value;
    }
    for (int i = 0; i < 1000; ++i) make_node(0);
    cycle::collect();
    for (size_t table = 0; table < tables.size(); ++table) {
      for (size_t at = 0; at < kTable - 1; ++at) {
        if (wanted[table][at] == 0) continue;
        ASSERT_TRUE(is_whole(tables[table][at], wanted[table][at])) << "round " << round;
        ASSERT_TRUE(is_whole(tables[table][at]->next, wanted[table][at])) << "round " << round;
      }
    }
  }
  keep_alive(root);
}

TEST(Always, WhatDiesOldGoesInAFullCycle) {
  constexpr size_t kMany = 2000;
  std::vector<uintptr_t> hidden(kMany);
  auto **volatile table = static_cast<Node **>(heap::allocate(kMany * sizeof(Node *), Kind::kScan));
  far_below([&] {
    for (size_t i = 0; i < kMany; ++i) {
      table[i] = make_node(i);
      hidden[i] = hide(table[i]);
    }
  });
  cycle::collect();
  cycle::collect();
  const auto live = [&hidden] {
    size_t count = 0;
    for (const uintptr_t object : hidden) count += heap::base_of(at_address<void>(~object)) != nullptr;
    return count;
  };
  EXPECT_EQ(live(), kMany);
  memset(table, 0, kMany * sizeof(Node *));
  for (int i = 0; i < 4; ++i) cycle::collect();  // of so many, one is full
  EXPECT_LT(live(), kMany / 10);
}

TEST(Always, WhatIsFreedByHandLeavesNoMark) {
  std::vector<Node *> nodes;
  Node *volatile list = nullptr;
  for (uint64_t i = 0; i < 1000; ++i) {
    nodes.push_back(make_node(i, list));
    list = nodes.back();
  }
  for (int i = 0; i < 4 && !marks_kept; ++i) cycle::collect();
  ASSERT_TRUE(marks_kept);
  ASSERT_TRUE(slot_of(nodes[0]).is_marked());
  list = nullptr;
  for (Node *node : nodes) {
    heap::release(node);
    ASSERT_FALSE(slot_of(node).is_marked());
  }
}

TEST(Always, AForkedChildCollectsAndTheParentGoesOn) {
  std::vector<Node **> tables;
  Node **volatile root = make_tables(tables, 50);
  for (uint64_t round = 1; round < 10; ++round) {
    for (Node **table : tables) table[round] = make_node(round);
    cycle::collect();
    const auto check = [&] {
      for (Node **table : tables) {
        for (uint64_t i = 1; i <= round; ++i) {
          if (!is_whole(table[i], i)) return false;
        }
      }
      return true;
    };
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (int i = 0; i < 5; ++i) {
        tables[0][100] = make_node(1);
        cycle::collect();
      }
      _exit(check() && is_whole(tables[0][100], 1) ? 0 : 1);
    }
    int status;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    ASSERT_TRUE(check()) << "round " << round;
  }
  keep_alive(root);
}

TEST(Always, SpansBornWhileMarkingBecomeYoung) {
  cycle::collect();
  const bool kept = marks_kept;
  Span *const span = make_span(phase::Phase::kMark);
  ASSERT_NE(span, nullptr);
  ASSERT_TRUE(span->born_black);
  BitPair *const pair = pairs_of(span);
  *pair = {1, 1};
  marks_kept = true;
  sweep(span);
  EXPECT_EQ(pair->allocated, 1u);
  EXPECT_EQ(pair->marked, 0u);
  EXPECT_FALSE(span->born_black);
  // From then on it is a span like any other.
  pair->marked = 1;
  sweep(span);
  EXPECT_EQ(pair->marked, 1u);
  marks_kept = false;
  sweep(span);
  EXPECT_EQ(pair->allocated, 1u);
  EXPECT_EQ(pair->marked, 0u);
  marks_kept = kept;
  free_span(span);
}

// A thread sweeps a span that it needs, and has not come to its end when a full cycle is about to begin.
TEST(Always, WhatIsBeingSweptKeepsItsMarksUntilItIs) {
  cycle::collect();
  const bool kept = marks_kept;
  Span *const span = make_span(phase::Phase::kSweep);
  ASSERT_NE(span, nullptr);
  BitPair *const pair = pairs_of(span);
  *pair = {1, 1};
  {
    const MutexLock background(cycle::background_lock);
    marks_kept = true;
    EXPECT_TRUE(forget_old());
    EXPECT_EQ(pair->marked, 0u);
    pair->marked = 1;
    span->generation = generation - 1;
    EXPECT_FALSE(forget_old());
    sweep(span);
    EXPECT_EQ(pair->allocated, 1u) << "a live object is gone";
    EXPECT_EQ(pair->marked, 0u);
    // It ended between the two, and had seen that marks are kept.
    pair->marked = 1;
    EXPECT_TRUE(forget_old());
    EXPECT_EQ(pair->marked, 0u);
    free_span(span);
  }
  EXPECT_FALSE(marks_kept);
  for (int i = 0; kept && i < 4 && !marks_kept; ++i) cycle::collect();
}

// The lines of gctrace about what is done here.
struct Lines {
  size_t minor = 0, full = 0;
};

template <class Do>
Lines count_lines(Do what) {
  FILE *file = tmpfile();
  const int before = dup(2);
  dup2(fileno(file), 2);
  what();
  dup2(before, 2);
  close(before);
  rewind(file);
  Lines lines;
  char line[512];
  while (fgets(line, sizeof line, file) != nullptr) {
    if (strncmp(line, "gc ", 3) != 0) continue;
    ++(strstr(line, "(minor)") != nullptr ? lines.minor : lines.full);
  }
  fclose(file);
  return lines;
}

Node *make_list(size_t length) {
  Node *list = nullptr;
  for (uint64_t i = 0; i < length; ++i) list = make_node(i, list);
  return list;
}

TEST(Auto, AHeapThatStaysIsMostlyLeftAlone) {
  Node *volatile list = make_list(1'000'000);
  const Lines lines = count_lines([] {
    for (int i = 0; i < 20'000'000; ++i) make_node(0);
  });
  EXPECT_GT(lines.minor, 2 * lines.full);
  EXPECT_GT(lines.full, 0u) << "what dies old is never found";
  EXPECT_TRUE(is_whole(list, 999'999));
}

TEST(Auto, AHeapThatIsWrittenToAllOverIsMarkedInFull) {
  std::vector<Node **> tables;
  Node **volatile root = make_tables(tables, 5000);
  const Lines lines = count_lines([&] {
    // On, where each cycle lasts long: of two or three any may be the one by which it is found out.
    const uint64_t begun = cycle::stats().cycles;
    for (uint64_t i = 1; i < 20'000'000 || cycle::stats().cycles < begun + 6; ++i) {
      Node *node = make_node(i);
      tables[i * 2654435761 % tables.size()][i % (kTable - 1)] = node;
    }
  });
  EXPECT_LE(lines.minor, lines.full / 2 + 1);
  keep_alive(root);
}

TEST(Auto, WhoAsksGetsAFullCycle) {
  Node *volatile list = make_list(1'000'000);
  for (int i = 0; i < 2'000'000; ++i) make_node(0);
  const Lines lines = count_lines([] { cycle::collect(); });
  EXPECT_GE(lines.full, 1u);
  EXPECT_TRUE(is_whole(list, 999'999));
}

// The last one: it stays so.
TEST(Auto, WhoFreesByHandHasFullCyclesOnly) {
  Node *volatile list = make_list(1'000'000);
  heap::release(make_node(0));
  const Lines lines = count_lines([] {
    for (const uint64_t wanted = cycle::stats().cycles + 4; cycle::stats().cycles < wanted;) make_node(0);
  });
  EXPECT_LE(lines.minor, 1u);  // one may have begun
  EXPECT_GT(lines.full, 1u);
  EXPECT_TRUE(is_whole(list, 999'999));
}

}  // namespace
}  // namespace warren::gc
