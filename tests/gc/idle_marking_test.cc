// Whether the scheduler's threads mark while they have no fiber to run: the trace says how long they did in each cycle.
// Invariant: nothing here depends on how fast anything is; the one question is asked until the answer is yes.
#include <warren/gc.h>
#include <warren/scheduler.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>

namespace {

struct Tree {
  Tree *left, *right;
};

Tree *make_tree(unsigned depth) {
  auto *tree = static_cast<Tree *>(wr_gc_malloc(sizeof(Tree)));
  if (depth == 0) return tree;
  tree->left = make_tree(depth - 1);
  tree->right = make_tree(depth - 1);
  return tree;
}

unsigned nodes(const Tree *tree) { return tree == nullptr ? 0 : 1 + nodes(tree->left) + nodes(tree->right); }

// Standard error goes to a file as long as this lives.
class Trace {
 public:
  Trace() {
    char name[] = "idle_marking_XXXXXX";
    const int file = mkstemp(name);
    name_ = name;
    before_ = dup(2);
    dup2(file, 2);
    close(file);
  }
  ~Trace() {
    dup2(before_, 2);
    close(before_);
    unlink(name_.c_str());
  }

  // In some cycle so far, in milliseconds above 0: "0.1+2.0/1.5/0.7+0.2 ms cpu", the third between slashes.
  bool tells_of_idle_marking() const {
    static const std::regex idle(R"(\+[0-9.e-]+/[0-9.e-]+/([0-9.e-]+)\+[0-9.e-]+ ms cpu)");
    std::ifstream lines(name_);
    for (std::string line; std::getline(lines, line);) {
      std::smatch found;
      if (std::regex_search(line, found, idle) && std::stod(found[1]) > 0) return true;
    }
    return false;
  }

 private:
  std::string name_;
  int before_;
};

Tree *tree;  // a root

TEST(IdleMarking, ThreadsWithoutAFiberMark) {
  constexpr unsigned kDepth = 17;
  const Trace trace;
  bool seen = false;
  warren::run([&] {
    tree = make_tree(kDepth);
    std::atomic<bool> over{false};
    std::thread collecting([&] {  // no fiber's: it takes no P
      while (!over.load()) wr_gc_collect();
    });
    while (!(seen = trace.tells_of_idle_marking())) {
      for (int i = 0; i < 100; ++i) warren::sleep_for(std::chrono::microseconds(20));
    }
    over.store(true);
    collecting.join();
  });
  EXPECT_TRUE(seen);
  EXPECT_EQ(nodes(tree), (2u << kDepth) - 1);
}

// Fibers hand trees to each other and sleep, so threads run out of fibers all the time while cycles follow each other.
TEST(IdleMarking, WhatSleepingFibersHandOnIsKept) {
  constexpr unsigned kDepth = 8, kFibers = 16, kRounds = 600;
  std::atomic<unsigned> wrong{0};
  warren::run([&] {
    std::atomic<bool> over{false};
    std::thread collecting([&] {
      while (!over.load()) wr_gc_collect();
    });
    auto ring = warren::make_chan<Tree *>(kFibers);
    warren::wait_group fibers;
    for (unsigned i = 0; i < kFibers; ++i) {
      fibers.go([&] {
        for (unsigned round = 0; round < kRounds; ++round) {
          ring.send(make_tree(kDepth));
          warren::sleep_for(std::chrono::microseconds(50));
          Tree *received = *ring.recv();
          std::swap(received->left, received->right);
          received->left->right = make_tree(kDepth - 2);
          if (nodes(received) != (2u << kDepth) - 1) wrong.fetch_add(1);
        }
      });
    }
    fibers.wait();
    over.store(true);
    collecting.join();
  });
  EXPECT_EQ(wrong.load(), 0u);
}

}  // namespace
