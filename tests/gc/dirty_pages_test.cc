// Cycles of a heap to all of which a thread writes meanwhile: then pages are watched late, nothing is lost, and they are watched early
// again when the thread rests. The collector checks itself, and does not go on before the thread has written to everything while
// the heap was marked. And how large the heap seems when pages are let go of. Linked with --wrap.
#include "gc/dirty_pages.h"

#include "gc/cycle.h"
#include "gc/heap.h"
#include "gc/mutation.h"
#include "gc/pacing.h"

#include <gtest/gtest.h>

#include <atomic>
#include <pthread.h>
#include <unistd.h>

namespace warren::gc {
namespace {

constexpr size_t kTables = 8192, kWords = 512;  // a page each: 32 MiB

struct Leaf {
  uint64_t value, check;
};

// The leaves wander from table to table, so each store takes the only pointer to one away and puts another in its place.
struct Tables {
  Leaf **of[kTables];
};

Leaf *make_leaf(uint64_t value) {
  auto *leaf = static_cast<Leaf *>(heap::allocate(sizeof(Leaf), Kind::kScan));
  *leaf = {value, ~value};
  return leaf;
}

Tables *make_tables() {
  auto *tables = static_cast<Tables *>(heap::allocate(sizeof(Tables), Kind::kScan));
  for (size_t i = 0; i < kTables; ++i) {
    tables->of[i] = static_cast<Leaf **>(heap::allocate(kWords * sizeof(Leaf *), Kind::kScan));
    for (size_t k = 0; k < 4; ++k) tables->of[i][k * 100] = make_leaf(i * 4 + k);
  }
  return tables;
}

// Each leaf is somewhere, and whole.
bool all_there(const Tables *tables) {
  uint64_t sum = 0;
  for (size_t i = 0; i < kTables; ++i) {
    for (size_t k = 0; k < 4; ++k) {
      const Leaf *leaf = tables->of[i][k * 100];
      if (leaf->value != ~leaf->check) return false;
      sum += leaf->value;
    }
  }
  constexpr uint64_t kLeaves = kTables * 4;
  return sum == kLeaves * (kLeaves - 1) / 2;
}

class Writer;
std::atomic<Writer *> at_work{nullptr};

class Writer {
 public:
  explicit Writer(Tables *tables) : tables_(tables) {
    pthread_create(&thread_, nullptr, run, this);
    at_work = this;
  }
  ~Writer() { rest(); }

  // Not during a cycle.
  void rest() {
    at_work = nullptr;
    if (!over_.exchange(true)) pthread_join(thread_, nullptr);
  }
  // One from its beginning to its end.
  void await_a_round() const {
    for (const uint64_t wanted = rounds_ + 2; rounds_ < wanted;) usleep(100);
  }

 private:
  static void *run(void *self) {
    auto *writer = static_cast<Writer *>(self);
    Tables *tables = writer->tables_;
    for (uint64_t round = 1; !writer->over_; ++round) {
      const size_t word = round % 4 * 100;
      for (size_t i = 0; i < kTables; ++i) std::swap(tables->of[i][word], tables->of[(i + round) % kTables][word]);
      ++writer->rounds_;
    }
    return nullptr;
  }

  Tables *tables_;
  pthread_t thread_;
  std::atomic<bool> over_{false};
  std::atomic<uint64_t> rounds_{0};
};

extern "C" size_t list_of_the_heap(Marker &, void (*)(void *), void *)
    __asm__("__real__ZN6warren2gc11dirty_pages12list_runningERNS0_6MarkerEPFvPvES4_");
extern "C" size_t list_here(Marker &, void (*)(void *), void *)
    __asm__("__wrap__ZN6warren2gc11dirty_pages12list_runningERNS0_6MarkerEPFvPvES4_");
size_t list_here(Marker &marker, void (*drain)(void *), void *context) {
  if (const Writer *writer = at_work) writer->await_a_round();
  return list_of_the_heap(marker, drain, context);
}

// Where nothing can be watched they never are, and nothing is lost either.
TEST(DirtyPages, AreWatchedLateWhereAllIsWrittenTo) {
  static Tables *tables;  // a root
  tables = make_tables();
  cycle::collect();
  EXPECT_FALSE(dirty_pages::is_late());
  Writer writer(tables);
  cycle::collect();
  EXPECT_FALSE(dirty_pages::is_late());
  cycle::collect();
  EXPECT_EQ(dirty_pages::is_late(), mutation::clears());
  for (int i = 0; i < 5; ++i) cycle::collect();
  writer.rest();
  EXPECT_TRUE(all_there(tables));
  cycle::collect();  // may be late, and sees that nobody writes
  cycle::collect();
  EXPECT_FALSE(dirty_pages::is_late());
  cycle::collect();
  EXPECT_TRUE(all_there(tables));
}

std::atomic<uint64_t> ends{0}, ends_past_the_goal{0};
extern "C" void end_of_the_heap(bool) __asm__("__real__ZN6warren2gc11dirty_pages3endEb");
extern "C" void end_here(bool) __asm__("__wrap__ZN6warren2gc11dirty_pages3endEb");
void end_here(bool stay) {
  ++ends;
  if (heap::live_bytes.load() >= pacing::goal()) ++ends_past_the_goal;
  end_of_the_heap(stay);
}

// Letting go of them takes long in a large heap. Who allocates waits where the heap is past its goal, so what is dead must not count then.
TEST(DirtyPages, AreLetGoOfWhenTheHeapIsBelowItsGoal) {
  cycle::collect();
  const int percent = pacing::set_percent(-1);
  constexpr uint64_t kGarbage = 256 << 20;  // the other test's heap is 32 MiB
  for (uint64_t made = 0; made < kGarbage; made += 1024) ASSERT_NE(heap::allocate(1024, Kind::kScan), nullptr);
  pacing::set_percent(percent);
  const uint64_t before = ends;
  ends_past_the_goal = 0;
  cycle::collect();
  EXPECT_GT(ends, before);
  EXPECT_EQ(ends_past_the_goal, 0U);
}

}  // namespace
}  // namespace warren::gc
