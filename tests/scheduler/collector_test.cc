// Fibers and the collector: what only a parked fiber's stack or registers hold stays, what a fiber held goes, and cycles
// end while fibers switch, compute and block. Through the shared library, which alone has both.
#include "fibers.h"

#include <warren/gc.h>

#include <cstring>
#include <random>

namespace {

using namespace fibers;

struct Node {
  Node *next;
  uint64_t number;
};

Node *list_of(int length, uint64_t number) {
  Node *first = nullptr;
  for (int i = 0; i < length; ++i) {
    auto *node = static_cast<Node *>(wr_gc_malloc(sizeof(Node)));
    node->next = first;
    node->number = number;
    first = node;
  }
  return first;
}

int length_of(const Node *node, uint64_t number) {
  int length = 0;
  for (; node != nullptr && node->number == number; node = node->next) ++length;
  return length;
}

TEST(Collector, WhatOnlyAParkedFiberHoldsStays) {
  run_on(2, [] {
    constexpr int kFibers = 200;
    std::atomic<int> parked{0};
    std::atomic<int> done{0};
    std::atomic<bool> end{false};
    for (int f = 0; f < kFibers; ++f) {
      go([&, f] {
        const Node *mine = list_of(20, static_cast<uint64_t>(f));
        ++parked;
        while (!end) wr_sleep_ns(1000000);
        EXPECT_EQ(length_of(mine, static_cast<uint64_t>(f)), 20);
        ++done;
      });
    }
    await(parked, kFibers);
    for (int i = 0; i < 3; ++i) {
      wr_gc_collect();
      list_of(5000, ~uint64_t{0});  // what was freed by mistake is used again
    }
    end = true;
    while (done != kFibers) wr_sleep_ns(1000000);
  });
}

TEST(Collector, CyclesEndWhileFibersSwitchComputeAndBlock) {
  run_on(3, [] {
    const unsigned seed = std::random_device{}();
    std::printf("seed %u\n", seed);
    std::atomic<bool> end{false};
    std::atomic<int> done{0};
    go([&] {
      while (!end.load(std::memory_order_relaxed)) {
      }
      ++done;
    });
    go([&] {
      while (!end) {
        wr_enter_blocking();
        usleep(500);
        wr_exit_blocking();
      }
      ++done;
    });
    for (unsigned f = 0; f < 6; ++f) {
      go([&, f] {
        std::mt19937 random(seed + f);
        while (!end) {
          const int length = static_cast<int>(random() % 50);
          const Node *mine = list_of(length, f);
          if (random() % 2 == 0) wr_yield();
          EXPECT_EQ(length_of(mine, f), length);
        }
        ++done;
      });
    }
    for (int i = 0; i < 20; ++i) {
      wr_gc_collect();
      wr_yield();
    }
    end = true;
    await(done, 8);
  });
}

}  // namespace
