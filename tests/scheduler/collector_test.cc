// Fibers and the collector: what only a parked fiber's stack or registers hold stays, what a fiber held goes, and cycles
// end while fibers switch, compute and block. Through the shared library, which alone has both.
#include "fibers.h"

#include <warren/channel_cxx.h>
#include <warren/gc.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <ucontext.h>

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

// A coroutine of another library's inside a fiber, on a stack that is none of ours: it parks there, or computes, and is
// the only one to hold its list, while the fiber's own stack, which it has left, alone holds another.
struct Coroutine {
  explicit Coroutine(bool mapped, bool parks) : mapped_(mapped), parks_(parks) {
    stack_ = mapped ? mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : malloc(kBytes);
  }
  ~Coroutine() { mapped_ ? static_cast<void>(munmap(stack_, kBytes)) : free(stack_); }
  Coroutine(const Coroutine &) = delete;
  Coroutine &operator=(const Coroutine &) = delete;

  // Called by a fiber; returns when the coroutine has ended.
  void run() {
    getcontext(&inner_);
    inner_.uc_stack.ss_sp = stack_;
    inner_.uc_stack.ss_size = kBytes;
    inner_.uc_link = &outer_;
    const auto self = reinterpret_cast<uintptr_t>(this);
    makecontext(&inner_, reinterpret_cast<void (*)()>(begin), 2, static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
    swapcontext(&outer_, &inner_);
  }

  std::atomic<bool> inside{false}, end{false};
  int found = -1;

 private:
  static constexpr size_t kBytes = 128 << 10;

  static void begin(unsigned high, unsigned low) {
    reinterpret_cast<Coroutine *>(uintptr_t{high} << 32 | low)->work();
  }
  __attribute__((noinline)) void work() {
    const Node *volatile mine = list_of(20, 77);
    inside = true;
    while (!end) {
      if (parks_) wr_sleep_ns(1000000);
    }
    found = length_of(mine, 77);
  }

  bool mapped_, parks_;
  void *stack_;
  ucontext_t inner_{}, outer_{};
};

TEST(Collector, WhatAFiberHoldsWhoseCoroutineHasAStackOfItsOwn) {
  if (kSanitized) GTEST_SKIP() << "they must be told of each stack";
  for (const bool parks : {true, false}) {
    for (const bool mapped : {true, false}) {
      run_on(3, [=] {
        Coroutine coroutine(mapped, parks);
        std::atomic<int> found{-1};
        go([&] {
          const Node *volatile mine = list_of(20, 33);
          coroutine.run();
          found = length_of(mine, 33);
        });
        while (!coroutine.inside) wr_sleep_ns(100000);
        for (int i = 0; i < 3; ++i) {
          wr_gc_collect();
          list_of(5000, ~uint64_t{0});
        }
        coroutine.end = true;
        while (found == -1) wr_sleep_ns(1000000);
        EXPECT_EQ(found, 20) << "parks: " << parks << ", mapped: " << mapped;
        EXPECT_EQ(coroutine.found, 20) << "parks: " << parks << ", mapped: " << mapped;
      });
    }
  }
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
