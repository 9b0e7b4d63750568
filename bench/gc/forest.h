// A live heap that changes all the time: trees of 15 nodes of 48 bytes, and what a step does to two of them.
// Included by pauses.cc and slowdown.cc; pauses.go has the same. Invariant: a step leaves as many nodes as there were.
#pragma once

#include HEAP

#include <cstdint>
#include <ctime>
#include <new>
#include <utility>

constexpr unsigned kDepth = 3;  // of a tree's leaves: 15 nodes
constexpr std::uint64_t kNodes = 15;

struct Node {
  Node *left;
  Node *right;
  std::uint64_t values[4];
};
static_assert(sizeof(Node) == 48);

struct Random {
  std::uint64_t state;
  std::uint64_t next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
  }
};

inline std::uint64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

inline Node *make(Node *left, Node *right, std::uint64_t value) {
  return new (heap::make(sizeof(Node))) Node{left, right, {value, 0, 0, 0}};
}

inline Node *build(unsigned depth, std::uint64_t &value) {
  Node *left = nullptr, *right = nullptr;
  if (depth > 0) {
    left = build(depth - 1, value);
    right = build(depth - 1, value);
  }
  return make(left, right, value++);
}

inline Node *&child(Node *node, std::uint64_t bit) { return (bit & 1) != 0 ? node->left : node->right; }

// Exchanges two subtrees, and puts a new leaf in an old one's place.
inline void rewire(Node *one, Node *other, std::uint64_t dice) {
  std::swap(child(one, dice), child(other, dice >> 1));
  Node *above = child(child(one, dice >> 2), dice >> 3);
  Node *&leaf = child(above, dice >> 4);
  Node *old = leaf;
  leaf = make(nullptr, nullptr, old->values[0] + 1);
  heap::drop(old);
}
