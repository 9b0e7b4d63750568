// Finalizers and weak references through the collector's public face.
// Invariant: nothing here depends on one object dying; of many, some strays may stay.
#include "tests/gc/herd.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <mutex>
#include <sys/wait.h>
#include <unistd.h>

namespace warren::gc_tests {
namespace {

constexpr int kMany = 1000;
constexpr int kEnough = kMany - 60;

int64_t test_number = 0;  // a stray of an earlier test may be finalized in a later one, and does not count there

struct Node {
  Node *next;
  int64_t number;
  int64_t check;
  int64_t test;
};

Node *make_node(int64_t number, Node *next = nullptr) {
  auto *node = static_cast<Node *>(wr_gc_malloc(sizeof(Node)));
  *node = {next, number, ~number, test_number};
  return node;
}

// Collects until `done` says so, or for so long that it will never be.
template <class Done>
bool collect_until(Done done) {
  for (int i = 0; i < 2000; ++i) {
    wr_gc_collect();
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return done();
}

std::atomic<int> calls[kMany];
std::atomic<int> called{0}, broken{0};

void reset() {
  ++test_number;
  for (auto &count : calls) count = 0;
  called = broken = 0;
}

void count_call(void *object, void *) {
  auto *node = static_cast<Node *>(object);
  if (node->check != ~node->number) ++broken;
  if (node->test != test_number) return;
  ++calls[node->number];
  ++called;
}

TEST(Finalizers, RunOnceOnObjectsThatAreWhole) {
  reset();
  apart([] {
    for (int i = 0; i < kMany; ++i) EXPECT_EQ(wr_gc_set_finalizer(make_node(i), count_call, nullptr), 0);
  });
  EXPECT_TRUE(collect_until([] { return called >= kEnough; })) << called;
  for (int i = 0; i < 5; ++i) wr_gc_collect();
  for (auto &count : calls) EXPECT_LE(count, 1);
  EXPECT_EQ(broken, 0);
}

TEST(Finalizers, DoNotRunOnWhatIsReachable) {
  reset();
  Node *volatile list = nullptr;
  for (int i = 0; i < kMany; ++i) {
    list = make_node(i, list);
    wr_gc_set_finalizer(list, count_call, nullptr);
  }
  for (int i = 0; i < 5; ++i) wr_gc_collect();
  EXPECT_EQ(called, 0);
  EXPECT_EQ(list->number, kMany - 1);
}

TEST(Finalizers, Answers) {
  Node *node = make_node(1);
  EXPECT_EQ(wr_gc_set_finalizer(nullptr, count_call, nullptr), EINVAL);
  EXPECT_EQ(wr_gc_set_finalizer(&node, count_call, nullptr), EINVAL);
  EXPECT_EQ(wr_gc_set_finalizer(&node->number, count_call, nullptr), EINVAL);
  void *block = malloc(100);
  EXPECT_EQ(wr_gc_set_finalizer(block, count_call, nullptr), EINVAL);
  free(block);
  EXPECT_EQ(wr_gc_set_finalizer(node, nullptr, nullptr), 0);
  EXPECT_EQ(wr_gc_set_finalizer(node, count_call, nullptr), 0);
  EXPECT_EQ(wr_gc_set_finalizer(node, count_call, nullptr), EEXIST);
  EXPECT_EQ(wr_gc_set_finalizer(node, nullptr, nullptr), 0);
  EXPECT_EQ(wr_gc_set_finalizer(node, count_call, nullptr), 0);
  EXPECT_EQ(wr_gc_set_finalizer(node, nullptr, nullptr), 0);
  wr_gc_free(node);
}

TEST(Finalizers, RemovedOnesAndThoseOfFreedObjectsDoNotRun) {
  reset();
  Herd herd;
  apart([&] {
    for (int i = 0; i < kMany; ++i) {
      Node *node = make_node(i);
      wr_gc_set_finalizer(node, count_call, nullptr);
      herd.watch(node);
      if (i % 2 == 0) {
        wr_gc_set_finalizer(node, nullptr, nullptr);
      } else {
        wr_gc_free(node);
      }
    }
  });
  EXPECT_TRUE(collect_until([&] { return herd.nearly_all_dead(); }));
  EXPECT_EQ(called, 0);
}

TEST(Finalizers, ArgumentsLiveUntilTheCall) {
  reset();
  apart([] {
    for (int i = 0; i < kMany; ++i) {
      Node *node = make_node(i);
      wr_gc_set_finalizer(
          node,
          [](void *object, void *argument) {
            auto *list = static_cast<Node *>(argument);
            if (list->check != ~list->number || list->next->check != ~list->next->number) ++broken;
            count_call(object, nullptr);
          },
          make_node(i, make_node(i + 1)));
    }
  });
  for (int i = 0; i < 20'000; ++i) make_node(-1);
  EXPECT_TRUE(collect_until([] { return called >= kEnough; }));
  EXPECT_EQ(broken, 0);
}

// The first of a chain is finalized first, and each finds the rest whole.
std::atomic<int64_t> last_of_chain[100];
TEST(Finalizers, InOrderOfDependency) {
  reset();
  constexpr int kChains = 100, kLength = 4;
  for (auto &last : last_of_chain) last = kLength;
  apart([] {
    for (int chain = 0; chain < kChains; ++chain) {
      Node *node = nullptr;
      for (int i = 0; i < kLength; ++i) {
        node = make_node(i, node);
        wr_gc_set_finalizer(
            node,
            [](void *object, void *argument) {
              auto *self = static_cast<Node *>(object);
              if (self->test != test_number) return;
              auto &last = last_of_chain[reinterpret_cast<intptr_t>(argument)];
              if (last != self->number + 1) ++broken;
              last = self->number;
              for (Node *at = self; at != nullptr; at = at->next) broken += at->check != ~at->number;
              ++called;
            },
            reinterpret_cast<void *>(static_cast<intptr_t>(chain)));
      }
    }
  });
  EXPECT_TRUE(collect_until([] { return called >= kChains * kLength * 9 / 10; })) << called;
  EXPECT_EQ(broken, 0);
}

// Leaves its object all over its frames, deeper than the collector's own calls on that thread go.
__attribute__((noinline)) void count_call_deeply(void *object, void *argument) {
  void *volatile copies[1000];
  for (void *volatile &copy : copies) copy = object;
  count_call(object, argument);
}

// The thread that runs them has run the first, and sleeps: what that has left on the stack must not hold the first one, or the
// second never goes.
TEST(Finalizers, HoldNothingOnceTheyHaveRun) {
  reset();
  constexpr int kChain = 10;
  apart([] {
    Node *first = nullptr;
    for (int64_t i = 0; i < kChain; ++i) {
      first = make_node(i, first);
      ASSERT_EQ(wr_gc_set_finalizer(first, count_call_deeply, nullptr), 0);
    }
  });
  EXPECT_TRUE(collect_until([] { return called == kChain; })) << called;
}

TEST(Finalizers, NeverOfRings) {
  reset();
  Herd herd;
  apart([&] {
    for (int i = 0; i < kMany; i += 2) {
      Node *one = make_node(i), *two = make_node(i + 1, one);
      one->next = two;
      wr_gc_set_finalizer(one, count_call, nullptr);
      wr_gc_set_finalizer(two, count_call, nullptr);
      herd.watch(one);
      Node *self = make_node(0);
      self->next = self;
      wr_gc_set_finalizer(self, count_call, nullptr);
      herd.watch(self);
    }
  });
  for (int i = 0; i < 10; ++i) wr_gc_collect();
  EXPECT_EQ(called, 0);
  EXPECT_TRUE(herd.all_alive());
}

// A ring of which one member has a finalizer is not held by it... but by itself: it never goes either. What merely hangs on
// it stays as well; a ring that a finalizable object refers to goes after it.
TEST(Finalizers, RingBehindAFinalizer) {
  reset();
  Herd herd;
  apart([&] {
    for (int i = 0; i < kMany; ++i) {
      Node *one = make_node(0), *two = make_node(0, one);
      one->next = two;
      herd.watch(one);
      wr_gc_set_finalizer(make_node(i, one), count_call, nullptr);
    }
  });
  EXPECT_TRUE(collect_until([&] { return called >= kEnough && herd.nearly_all_dead(); }));
}

std::mutex kept_lock;
Node *volatile kept;
TEST(Finalizers, MayResurrectAndBeSetAnew) {
  reset();
  static void (*again)(void *, void *) = [](void *object, void *) {
    auto *node = static_cast<Node *>(object);
    if (node->test != test_number) return;
    std::lock_guard guard(kept_lock);
    node->next = kept;
    kept = node;
    if (wr_gc_set_finalizer(object, count_call, nullptr) != 0) ++broken;
    ++called;
  };
  apart([] {
    for (int i = 0; i < kMany; ++i) wr_gc_set_finalizer(make_node(i), again, nullptr);
  });
  EXPECT_TRUE(collect_until([] { return called >= kEnough; }));
  for (int i = 0; i < 3; ++i) wr_gc_collect();
  int count = 0;
  for (Node *node = kept; node != nullptr; node = node->next) {
    EXPECT_EQ(node->check, ~node->number);
    EXPECT_EQ(calls[node->number], 0);
    ++count;
  }
  EXPECT_GE(count, kEnough);
  called = 0;
  apart([] {
    for (Node *node = kept, *next; node != nullptr; node = next) {
      next = node->next;
      node->next = nullptr;  // a chain would go one at a time
    }
    kept = nullptr;
  });
  EXPECT_TRUE(collect_until([] { return called >= kEnough - 60; })) << called;
  for (auto &count_of_one : calls) EXPECT_LE(count_of_one, 1);
}

TEST(Finalizers, MayAllocateLockCollectAndStartThreads) {
  reset();
  static std::mutex lock;
  apart([] {
    for (int i = 0; i < 100; ++i) {
      wr_gc_set_finalizer(
          make_node(i),
          [](void *object, void *) {
            const std::lock_guard guard(lock);
            for (int k = 0; k < 100; ++k) make_node(k);
            void *block = malloc(1000);
            free(block);
            const int number = static_cast<int>(static_cast<Node *>(object)->number);
            if (number % 10 == 0) wr_gc_collect();
            if (number % 25 == 0) apart([] { make_node(1); });
            count_call(object, nullptr);
          },
          nullptr);
    }
  });
  EXPECT_TRUE(collect_until([] {
    const std::lock_guard guard(lock);
    return called >= 90;
  }));
  EXPECT_EQ(broken, 0);
}

size_t threads_here() {
  size_t count = 0;
  for ([[maybe_unused]] const auto &task : std::filesystem::directory_iterator("/proc/self/task")) ++count;
  return count;
}

// The child has the finalizers that were ready behind the one that forks. They run after a cycle of its own: a thread that is
// there before all handlers of fork have run would find its locks reset.
TEST(Finalizers, ForkAndTheChildRunsTheOthersAfterItsFirstCycle) {
  reset();
  static std::atomic<bool> in_child{false}, forked{false};
  static std::atomic<int> bad_children{0};
  apart([] {
    for (int i = 0; i < kMany; ++i) {
      wr_gc_set_finalizer(
          make_node(i),
          [](void *object, void *) {
            count_call(object, nullptr);
            if (in_child || forked.exchange(true)) return;
            const pid_t child = fork();
            if (child == 0) {
              in_child = true;
              const size_t threads = threads_here();
              const int before = called;
              _exit(threads != 1 ? 1 : collect_until([before] { return called >= before + 100; }) ? 0 : 2);
            }
            int status = -1;
            if (waitpid(child, &status, 0) != child || status != 0) ++bad_children;
          },
          nullptr);
    }
  });
  EXPECT_TRUE(collect_until([] { return called >= kEnough; }));
  EXPECT_EQ(bad_children, 0);
  EXPECT_EQ(broken, 0);
}

TEST(Finalizers, MayEndTheirThread) {
  reset();
  apart([] {
    for (int i = 0; i < kMany; ++i) {
      wr_gc_set_finalizer(
          make_node(i),
          [](void *object, void *argument) {
            count_call(object, argument);
            if (static_cast<Node *>(object)->number % 100 == 50) pthread_exit(nullptr);
          },
          nullptr);
    }
  });
  EXPECT_TRUE(collect_until([] { return called >= kEnough; })) << called;
  for (auto &count : calls) EXPECT_LE(count, 1);
}

TEST(Finalizers, SetWhileTheCollectorRuns) {
  reset();
  std::atomic<bool> over{false};
  std::thread collecting([&] {
    while (!over) wr_gc_collect();
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([t] {
      for (int round = 0; round < 20; ++round) {
        for (int i = t * kMany / 2; i < (t + 1) * kMany / 2; ++i) {
          Node *node = make_node(i, make_node(i));
          wr_gc_set_finalizer(
              node, [](void *object, void *argument) {
                auto *self = static_cast<Node *>(object);
                if (self->next->check != ~self->next->number || argument != self->next) ++broken;
                count_call(object, nullptr);
              },
              node->next);
        }
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
  over = true;
  collecting.join();
  EXPECT_TRUE(collect_until([] { return called >= 20 * kMany * 9 / 10; }));
  EXPECT_LE(called, 20 * kMany);
  EXPECT_EQ(broken, 0);
}

TEST(Weak, ClearedBeforeTheFinalizerRuns) {
  reset();
  static wr_weak references[kMany];
  apart([] {
    for (int i = 0; i < kMany; ++i) {
      Node *node = make_node(i);
      references[i] = wr_weak_make(node);
      wr_gc_set_finalizer(
          node,
          [](void *object, void *) {
            if (wr_weak_get(references[static_cast<Node *>(object)->number]) != nullptr) ++broken;
            count_call(object, nullptr);
          },
          nullptr);
    }
  });
  EXPECT_TRUE(collect_until([] { return called >= kEnough; }));
  EXPECT_EQ(broken, 0);
  for (int i = 0; i < kMany; ++i) {
    if (calls[i] != 0) {
      EXPECT_EQ(wr_weak_get(references[i]), nullptr);
    }
  }
}

TEST(Weak, AnswersOfTheCFunctions) {
  EXPECT_EQ(wr_weak_get({0}), nullptr);
  EXPECT_EQ(wr_weak_get({1}), nullptr);
  EXPECT_EQ(wr_weak_get({UINT64_MAX}), nullptr);
  EXPECT_EQ(wr_weak_make(nullptr).value, 0u);
  int local;
  EXPECT_EQ(wr_weak_make(&local).value, 0u);
  Node *node = make_node(3);
  const wr_weak one = wr_weak_make(node), other = wr_weak_make(&node->check);
  EXPECT_NE(one.value, 0u);
  EXPECT_EQ(one.value, other.value);
  EXPECT_EQ(wr_weak_get(one), node);
  wr_gc_free(node);
  EXPECT_EQ(wr_weak_get(one), nullptr);
}

// A reference to an object that is gone never answers for the one that has its place, or its cell.
TEST(Weak, NullForEver) {
  std::vector<wr_weak> old;
  for (int round = 0; round < 10; ++round) {
    Herd herd;
    apart([&] { herd.watch_fresh(kMany, 32); });
    std::vector<wr_weak> fresh;
    apart([&] {
      for (int i = 0; i < kMany; ++i) fresh.push_back(wr_weak_make(wr_gc_malloc(32)));
    });
    wr_gc_collect();
    apart([&] {
      for (const wr_weak reference : fresh) {
        if (wr_weak_get(reference) == nullptr) old.push_back(reference);
      }
    });
    for (const wr_weak reference : old) ASSERT_EQ(wr_weak_get(reference), nullptr);
  }
  EXPECT_GT(old.size(), 5000u);
}

// Who gets an object from a weak reference holds it, whatever the collector is just doing; and an object that never was out of
// reach never loses its references.
TEST(Weak, RacesWithCycles) {
  std::atomic<bool> over{false};
  std::atomic<int> wrong{0}, lost{0}, found{0};
  std::thread collecting([&] {
    while (!over) wr_gc_collect();
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      Node *volatile held = make_node(t);
      const wr_weak to_held = wr_weak_make(held);
      wr_weak to_dropped[64] = {};
      for (int64_t i = 0; !over; ++i) {
        if (wr_weak_get(to_held) != held) ++lost;
        // Large objects have pages of their own, new ones every time.
        auto *large = static_cast<Node *>(wr_gc_malloc(40'000));
        const wr_weak to_large = wr_weak_make(large);
        wr_gc_set_finalizer(large, [](void *, void *) {}, nullptr);
        if (wr_weak_get(to_large) != large || wr_gc_set_finalizer(large, [](void *, void *) {}, nullptr) != EEXIST) ++lost;
        for (wr_weak &reference : to_dropped) {
          auto *node = static_cast<Node *>(wr_weak_get(reference));
          if (node != nullptr) {
            ++found;
            for (int k = 0; k < 20; ++k) make_node(k);
            if (node->check != ~node->number || node->next->check != ~node->next->number) ++wrong;
          }
          if (node == nullptr || node->number < i - 2) reference = wr_weak_make(make_node(i, make_node(i)));
        }
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::seconds(4));
  over = true;
  for (std::thread &thread : threads) thread.join();
  collecting.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(lost, 0);
  EXPECT_GT(found, 0);
}

TEST(Weak, AMillion) {
  Herd herd;
  apart([&] { herd.watch_fresh(1'000'000, 16); });
  for (int i = 0; i < 2; ++i) wr_gc_collect();
  EXPECT_TRUE(herd.nearly_all_dead());
}

}  // namespace
}  // namespace warren::gc_tests
