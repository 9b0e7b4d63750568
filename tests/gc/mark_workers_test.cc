// Whether mark workers mark. Nobody else does here but the collector's own thread: the program allocates nothing while cycles
// run, and does not wait for them in the collector.
#include "allocator/base/options.h"
#include "gc/assist.h"
#include "gc/collector_thread.h"
#include "gc/cycle.h"
#include "gc/heap.h"

#include <gtest/gtest.h>

#include <dirent.h>
#include <fstream>
#include <string>
#include <thread>
#include <unistd.h>

namespace warren::gc {
namespace {

struct Tree {
  Tree *left, *right;
  uint64_t depth;
  char rest[40];
};
constexpr uint64_t kDepth = 20;  // a million nodes of 64 bytes

Tree *make_tree(uint64_t depth) {
  auto *tree = static_cast<Tree *>(heap::allocate(sizeof(Tree), Kind::kScan));
  tree->depth = depth;
  if (depth == 1) return tree;
  tree->left = make_tree(depth - 1);
  tree->right = make_tree(depth - 1);
  return tree;
}

bool is_whole(const Tree *tree, uint64_t depth) {
  if (tree == nullptr || tree->depth != depth) return false;
  if (depth == 1) return tree->left == nullptr && tree->right == nullptr;
  return is_whole(tree->left, depth - 1) && is_whole(tree->right, depth - 1);
}

int tasks_named(const std::string &wanted) {
  int count = 0;
  DIR *directory = opendir("/proc/self/task");
  while (const dirent *entry = readdir(directory)) {
    std::string name;
    std::getline(std::ifstream(std::string("/proc/self/task/") + entry->d_name + "/comm"), name);
    count += name == wanted;
  }
  closedir(directory);
  return count;
}

// Returns the most that was seen to be scanned by others than the collector's thread.
uint64_t run_a_cycle() {
  uint64_t scanned = 0;
  const uint64_t before = cycle::stats().cycles;
  while (cycle::stats().cycles == before) {
    collector_thread::ask();
    usleep(1000);
    const uint64_t now = assist::scanned();
    if (now > scanned) scanned = now;
  }
  return scanned;
}

TEST(MarkWorkers, MarkBesideTheCollectorsThread) {
  options.gogc = kNoLimit;
  static Tree *volatile tree = nullptr;
  std::thread([] { tree = make_tree(kDepth); }).join();
  options.gc_workers = 1;
  run_a_cycle();
  EXPECT_EQ(run_a_cycle(), 0U);
  EXPECT_EQ(tasks_named("warren-mark"), 0);

  options.gc_workers = kNoLimit;
  run_a_cycle();
  EXPECT_EQ(tasks_named("warren-mark"), 0);

  options.gc_workers = 3;
  uint64_t scanned = 0;
  for (int i = 0; i < 100 && scanned == 0; ++i) scanned = run_a_cycle();
  EXPECT_GT(scanned, 0U);
  EXPECT_EQ(tasks_named("warren-mark"), 2);
  EXPECT_TRUE(is_whole(tree, kDepth));
}

}  // namespace
}  // namespace warren::gc
