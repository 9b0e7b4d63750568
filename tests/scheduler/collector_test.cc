// Fibers and the collector: what only a parked fiber's stack or registers hold stays, what a fiber held goes, and cycles
// end while fibers switch, compute and block. Through the shared library, which alone has both.
#include "fibers.h"

#include <warren/channel_cxx.h>
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

// What is too large for a channel's ring, or may throw when it is moved, waits in memory of its own.
TEST(Collector, WhatOnlyALargeElementOfAChannelHoldsStays) {
  struct Large {
    Node *list;
    char more[4000];
  };
  struct alignas(256) Aligned {
    Node *list;
  };
  run_on(2, [] {
    constexpr size_t kElements = 50;
    auto large = warren::make_chan<Large>(kElements);
    auto aligned = warren::make_chan<Aligned>(kElements);
    std::atomic<int> done{0};
    go([=, &done] {  // on a stack of its own, where no old word of it is found
      for (uint64_t i = 0; i < kElements; ++i) {
        large.send(Large{list_of(3, i), {}});
        aligned.send(Aligned{list_of(3, kElements + i)});
      }
      ++done;
    });
    await(done, 1);
    for (int i = 0; i < 3; ++i) {
      wr_gc_collect();
      list_of(5000, ~uint64_t{0});  // what was freed by mistake is used again
    }
    for (uint64_t i = 0; i < kElements; ++i) {
      EXPECT_EQ(length_of(large.recv()->list, i), 3);
      const auto element = aligned.recv();
      EXPECT_EQ(reinterpret_cast<uintptr_t>(&*element) % 256, 0u);
      EXPECT_EQ(length_of(element->list, kElements + i), 3);
    }
  });
}

// What is too large for a new fiber's stack, too.
TEST(Collector, WhatOnlyALargeClosureHoldsStays) {
  run_on(2, [] {
    constexpr int kFibers = 20;
    std::atomic<int> started{0}, done{0};
    std::atomic<bool> end{false};
    go([&] {  // on a stack of its own
      for (int f = 0; f < kFibers; ++f) {
        struct More {
          char bytes[40000];  // malloc has no class for it
        };
        warren::go([&, f, list = list_of(20, static_cast<uint64_t>(f)), more = More{}] {
          ++started;
          while (!end) wr_sleep_ns(1000000);
          EXPECT_EQ(length_of(list, static_cast<uint64_t>(f) + static_cast<uint64_t>(more.bytes[0])), 20);
          ++done;
        });
      }
    });
    await(started, kFibers);
    for (int i = 0; i < 3; ++i) {
      wr_gc_collect();
      list_of(5000, ~uint64_t{0});
    }
    end = true;
    await(done, kFibers);
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
