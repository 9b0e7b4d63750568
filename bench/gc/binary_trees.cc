// Claim: throughput with small nodes that mostly die young, beside a long-lived tree (benchmarks game, binary-trees).
// Held constant: nodes of 16 bytes; every tree is built bottom-up, counted, and dropped. Same work as binary_trees.go.
// Usage: binary_trees DEPTH THREADS. Run by bench/gc.py.
#include HEAP

#include <pthread.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

namespace {

struct Node {
  Node *left;
  Node *right;
};

Node *build(unsigned depth) {
  Node *left = nullptr, *right = nullptr;
  if (depth > 0) {
    left = build(depth - 1);
    right = build(depth - 1);
  }
  return new (heap::make(sizeof(Node))) Node{left, right};
}

std::uint64_t count(const Node *node) { return node->left == nullptr ? 1 : 1 + count(node->left) + count(node->right); }

void drop(Node *node) {
  if constexpr (heap::kMustDrop) {
    if (node->left != nullptr) {
      drop(node->left);
      drop(node->right);
    }
    heap::drop(node);
  }
}

std::uint64_t build_and_drop(unsigned depth) {
  Node *tree = build(depth);
  const std::uint64_t nodes = count(tree);
  drop(tree);
  return nodes;
}

struct Share {
  unsigned deepest;
  unsigned number, of;
  std::uint64_t nodes;
};

void *run_share(void *argument) {
  auto *share = static_cast<Share *>(argument);
  std::uint64_t nodes = 0;
  for (unsigned depth = 4; depth <= share->deepest; depth += 2) {
    const std::uint64_t trees = std::uint64_t{1} << (share->deepest - depth + 4);
    for (std::uint64_t i = share->number; i < trees; i += share->of) nodes += build_and_drop(depth);
  }
  share->nodes = nodes;
  return nullptr;
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  heap::start();
  const auto deepest = static_cast<unsigned>(std::atoi(argv[1]));
  const auto threads = static_cast<unsigned>(std::atoi(argv[2]));
  std::uint64_t nodes = build_and_drop(deepest + 1);
  Node *long_lived = build(deepest);
  std::vector<Share> shares(threads);
  std::vector<pthread_t> started(threads);
  for (unsigned i = 0; i < threads; ++i) {
    shares[i] = {deepest, i, threads, 0};
    if (pthread_create(&started[i], nullptr, run_share, &shares[i]) != 0) return 1;
  }
  for (unsigned i = 0; i < threads; ++i) {
    pthread_join(started[i], nullptr);
    nodes += shares[i].nodes;
  }
  nodes += count(long_lived);
  drop(long_lived);
  std::printf("operations %" PRIu64 " checksum %" PRIu64 "\ncycles %" PRIu64 "\n", nodes, nodes, heap::cycles());
}
