// Claim: building and dropping whole structures of equal small nodes (compilers, parsers, functional programs).
// Held constant: one long-lived tree of depth 18 beside many short-lived ones of depth 6 to 16; nodes of 16 bytes.
// Unit: one node made and deleted. Run by bench/run.py.
#include "workload.h"

namespace {

struct Node {
  Node *left;
  Node *right;
};

Node *build(int depth) {
  if (depth == 0) return new Node{nullptr, nullptr};
  Node *left = build(depth - 1);
  Node *right = build(depth - 1);
  return new Node{left, right};
}

std::uint64_t drop(Node *node) {
  std::uint64_t nodes = 1;
  if (node->left != nullptr) nodes += drop(node->left) + drop(node->right);
  delete node;
  return nodes;
}

}  // namespace

int main() {
  constexpr int kLongLivedDepth = 18;
  constexpr int kDeepest = 16;
  std::uint64_t nodes = 0;
  Node *long_lived = build(kLongLivedDepth);
  for (int depth = 6; depth <= kDeepest; depth += 2) {
    const int trees = 30 << (kDeepest - depth);
    for (int i = 0; i < trees; ++i) nodes += drop(build(depth));
  }
  nodes += drop(long_lived);
  workload::report(nodes, nodes);
}
