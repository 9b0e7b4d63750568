// Whether gc_verify sees a mark that the cycle has missed. One is planted: the pages of one object are left out when
// the collector asks which ones were written to. And whether none is missed when there is no memory for grey objects.
// Runs with the ordinary mechanism and with mprotect.
// Invariant: the objects that the mark is missed of are reachable through that one object only, from the moment in
// which it was scanned.
#include "allocator/base/options.h"
#include "gc/cycle.h"
#include "gc/dirty_pages.h"
#include "gc/heap.h"
#include "gc/mark_work.h"
#include "gc/mutation.h"

#include <gtest/gtest.h>

#include "seed.h"

#include <atomic>
#include <sched.h>
#include <thread>

namespace warren::gc {
namespace {

constexpr size_t kWhites = 200;
constexpr size_t kBlackBytes = size_t{64} << 10;  // pages of its own

// Nothing that the collector reads points to them: complements.
uintptr_t hidden_whites[kWhites];

uintptr_t *black = nullptr;

enum Step { kIdle, kArmed, kMove, kMoved };
std::atomic<int> step{kIdle};
bool drops_pages = false;

struct Filter {
  mutation::Visit visit;
  void *context;
};

void visit_all_but_black(mutation::Range dirty, void *context) {
  const auto *filter = static_cast<const Filter *>(context);
  const uintptr_t low = address_of(black), high = low + kBlackBytes;
  if (dirty.start < low) filter->visit({dirty.start, dirty.end < low ? dirty.end : low}, filter->context);
  if (dirty.end > high) filter->visit({dirty.start > high ? dirty.start : high, dirty.end}, filter->context);
}

void store_whites() {
  for (size_t i = 0; i < kWhites; ++i) black[i] = ~hidden_whites[i];
}

// Stores the whites when the collector asks, in the middle of its cycle.
void play_program() {
  while (step.load(std::memory_order_acquire) != kMove) sched_yield();
  store_whites();
  step.store(kMoved, std::memory_order_release);
}

bool collect_with_a_store() {
  std::thread([] {
    black = static_cast<uintptr_t *>(heap::allocate(kBlackBytes, Kind::kScan));
    for (uintptr_t &white : hidden_whites) white = ~address_of(heap::allocate(48, Kind::kScan));
  }).join();
  cycle::collect();  // and the mechanism is chosen
  if (mutation::mechanism() == mutation::Mechanism::kNone) return false;
  std::thread([] {
    for (uintptr_t &white : hidden_whites) white = ~address_of(heap::allocate(48, Kind::kScan));
  }).join();
  step = kArmed;
  std::thread program(play_program);
  cycle::collect();
  program.join();
  return true;
}

size_t living_whites() {
  size_t living = 0;
  for (const uintptr_t hidden : hidden_whites) living += heap::base_of(at_address<void>(~hidden)) != nullptr;
  return living;
}

}  // namespace

// In place of mutation::for_each_dirty(). By the time it is called first everything reachable has been scanned.
extern "C" bool __real__ZN6warren2gc8mutation14for_each_dirtyENS1_5RangeEbPFvS2_PvES3_(mutation::Range in, bool clear,
                                                                                       mutation::Visit visit, void *context);
extern "C" bool __wrap__ZN6warren2gc8mutation14for_each_dirtyENS1_5RangeEbPFvS2_PvES3_(mutation::Range in, bool clear,
                                                                                       mutation::Visit visit, void *context) {
  int armed = kArmed;
  if (clear && step.compare_exchange_strong(armed, kMove)) {
    while (step.load(std::memory_order_acquire) != kMoved) sched_yield();
  }
  if (!drops_pages) return __real__ZN6warren2gc8mutation14for_each_dirtyENS1_5RangeEbPFvS2_PvES3_(in, clear, visit, context);
  Filter filter{visit, context};
  return __real__ZN6warren2gc8mutation14for_each_dirtyENS1_5RangeEbPFvS2_PvES3_(in, clear, visit_all_but_black, &filter);
}

// In place of mark_work::get_empty().
std::atomic<bool> starves{false};
std::atomic<unsigned> refused{0};
extern "C" MarkBuffer *__real__ZN6warren2gc9mark_work9get_emptyEv();
extern "C" MarkBuffer *__wrap__ZN6warren2gc9mark_work9get_emptyEv() {
  if (!starves) return __real__ZN6warren2gc9mark_work9get_emptyEv();
  ++refused;
  return nullptr;
}

namespace {

struct Tree {
  Tree *left;
  Tree *right;
  uint64_t number;
};
constexpr size_t kTree = 20'000;

// Each node below one that was made long before it: some dozen levels, their places in no order.
Tree *make_tree() {
  auto **nodes = static_cast<Tree **>(heap::allocate(kTree * sizeof(Tree *), Kind::kScan));
  std::mt19937_64 random(seed());
  for (size_t i = 0; i < kTree; ++i) {
    nodes[i] = static_cast<Tree *>(heap::allocate(sizeof(Tree), Kind::kScan));
    nodes[i]->number = i;
    if (i == 0) continue;
    Tree *above = nodes[random() % i];
    for (Tree **place = &above->left; place != nullptr;) {
      if (*place == nullptr) {
        *place = nodes[i];
        place = nullptr;
      } else {
        place = random() % 2 == 0 ? &(*place)->left : &(*place)->right;
      }
    }
  }
  return nodes[0];
}

size_t size_of(const Tree *tree) { return tree == nullptr ? 0 : 1 + size_of(tree->left) + size_of(tree->right); }

class Verifier : public testing::Test {
 protected:
  Verifier() {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    options.gc_verify = 0;
    drops_pages = false;
  }
};
using VerifierDeathTest = Verifier;

TEST_F(Verifier, AStoreThatIsSeenIsNoComplaint) {
  options.gc_verify = 1;
  if (!collect_with_a_store()) GTEST_SKIP() << "stores cannot be seen here";
  EXPECT_EQ(step, kMoved);
  EXPECT_EQ(living_whites(), kWhites);
}

// Not one grey object may wait: what is found is marked, dropped, and found again by its mark.
TEST_F(Verifier, WithoutMemoryForGreyObjectsNoneIsMissed) {
  options.gc_verify = 1;
  static Tree *volatile tree = nullptr;
  std::thread([] { tree = make_tree(); }).join();
  for (int i = 0; i < 3; ++i) {
    starves = true;
    cycle::collect();
    starves = false;
    EXPECT_GT(refused, 0U);
    EXPECT_EQ(size_of(tree), kTree);
  }
}

// Nodes that fill whole blocks, so that each block's digest knows of one mark.
struct Broad {
  Broad *next;
  char rest[1016];
};

// What a cycle remembers of blocks is nothing to the next one, which cannot see stores any more, and has no memory either.
TEST_F(Verifier, DigestsOfTheLastCycleHideNothing) {
  static Broad *volatile list = nullptr;
  std::thread([] {
    for (int i = 0; i < 1000; ++i) {
      auto *node = static_cast<Broad *>(heap::allocate(sizeof(Broad), Kind::kScan));
      node->next = list;
      list = node;
    }
  }).join();
  const uint64_t tracking = options.gc_tracking;
  options.gc_verify = 1;
  starves = true;
  cycle::collect();
  cycle::collect();
  dirty_pages::reset_in_child();  // as in a child, the mechanism is chosen anew
  options.gc_tracking = static_cast<uint64_t>(mutation::Choice::kStop);
  cycle::collect();
  EXPECT_EQ(mutation::mechanism(), mutation::Mechanism::kNone);
  starves = false;
  size_t length = 0;
  for (const Broad *node = list; node != nullptr; node = node->next) ++length;
  EXPECT_EQ(length, 1000u);
  list = nullptr;
  dirty_pages::reset_in_child();
  options.gc_tracking = tracking;
}

// The plant works: without the verifier the objects are gone.
TEST_F(Verifier, AStoreThatIsNotSeenLosesObjects) {
  drops_pages = true;
  if (!collect_with_a_store()) GTEST_SKIP() << "stores cannot be seen here";
  EXPECT_LT(living_whites(), kWhites / 2);
}

TEST_F(VerifierDeathTest, AMissedMarkEndsTheProcess) {
  cycle::collect();
  if (mutation::mechanism() == mutation::Mechanism::kNone) GTEST_SKIP() << "stores cannot be seen here";
  EXPECT_DEATH(
      {
        options.gc_verify = 1;
        drops_pages = true;
        collect_with_a_store();
      },
      "gc_verify: the word at 0x[0-9a-f]+ reaches the object 0x[0-9a-f]+ of 48 bytes, which the cycle has not marked; aborting");
}

}  // namespace
}  // namespace warren::gc
