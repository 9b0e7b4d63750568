// Claim: trees, lists and maps of strings that are built, walked and dropped, again and again, beside one large tree that stays.
// Held constant: a tree of 2,097,151 nodes for the whole run; 4 rounds of 4369 balanced trees of 127 to 524,287 nodes, a search tree of
// 60,000 keys, a list of 200,000 strings of which those of odd length are removed, and a map filled by 60,000 additions to strings, of
// which those of a length divisible by three are erased. Unit: one round. Run by bench/run.py.
#include <list>
#include <map>
#include <string>
#include <utility>

#include "workload.h"

namespace {

constexpr int kRounds = 4;
constexpr int kDepthOfLasting = 20;
constexpr int kShallowest = 6;
constexpr int kDeepest = 18;
constexpr int kSearchKeys = 60'000;
constexpr int kListItems = 200'000;
constexpr int kMapAdditions = 60'000;

workload::Random generator(0xFEEDFACECAFEBEEFULL);

std::uint64_t draw() { return generator.next(); }

struct Node {
  Node *left;
  Node *right;
  std::uint32_t value;
};

Node *build(int depth, std::uint32_t value) {
  Node *node = new Node;
  node->value = value;
  node->left = nullptr;
  node->right = nullptr;
  if (depth > 0) {
    node->left = build(depth - 1, value * 2 + 1);
    node->right = build(depth - 1, value * 2 + 2);
  }
  return node;
}

std::uint64_t walk(const Node *node) {
  return node != nullptr ? node->value + walk(node->left) * 3 + walk(node->right) * 5 : 1;
}

void drop(Node *node) {
  if (node == nullptr) return;
  drop(node->left);
  drop(node->right);
  delete node;
}

// A search tree that is not balanced; its keys come in random order.
struct SearchNode {
  SearchNode *left = nullptr;
  SearchNode *right = nullptr;
  std::uint64_t key;
  char tag[24];

  explicit SearchNode(std::uint64_t new_key) : key(new_key) {
    std::snprintf(tag, sizeof tag, "k%u", static_cast<unsigned>(new_key % 1'000'000));
  }

  ~SearchNode() {
    delete left;
    delete right;
  }
};

std::uint64_t search_tree_round() {
  SearchNode *root = nullptr;
  for (int i = 0; i < kSearchKeys; ++i) {
    const std::uint64_t key = draw();
    SearchNode **place = &root;
    while (*place != nullptr) place = key < (*place)->key ? &(*place)->left : &(*place)->right;
    *place = new SearchNode(key);
  }
  std::uint64_t sum = 0;
  for (SearchNode *node = root; node != nullptr; node = (node->key & 64) != 0 ? node->left : node->right) {
    sum = sum * 7 + node->key + static_cast<unsigned char>(node->tag[1]);
  }
  delete root;
  return sum;
}

std::uint64_t list_round() {
  std::list<std::string> items;
  for (int i = 0; i < kListItems; ++i) {
    std::string item = "item-" + std::to_string(draw() % 100'000);
    if (i % 3 == 0) item += "-with-a-tail-too-long-for-the-object-itself";
    if ((i & 1) != 0) {
      items.push_back(std::move(item));
    } else {
      items.push_front(std::move(item));
    }
  }
  items.remove_if([](const std::string &item) { return item.size() % 2 != 0; });
  std::uint64_t sum = 0;
  for (const auto &item : items) sum = sum * 33 + item.size() + static_cast<unsigned char>(item.back());
  return sum;
}

std::uint64_t map_round() {
  std::map<std::string, std::string> values;
  for (int i = 0; i < kMapAdditions; ++i) {
    const std::uint64_t random = draw();
    std::string key = "section/" + std::to_string(random % 50) + "/key/" + std::to_string((random >> 20) % 20'000);
    values[key] += "value of " + std::to_string(i) + ";";
  }
  for (auto position = values.begin(); position != values.end();) {
    if (position->second.size() % 3 == 0) {
      position = values.erase(position);
    } else {
      ++position;
    }
  }
  std::uint64_t sum = 0;
  for (const auto &[key, value] : values) {
    sum = sum * 31 + key.size() * 7 + value.size() + static_cast<unsigned char>(key.back());
  }
  return sum;
}

}  // namespace

int main() {
  std::uint64_t checksum = 0;
  Node *lasting = build(kDepthOfLasting, 1);
  for (int round = 0; round < kRounds; ++round) {
    for (int depth = kShallowest; depth <= kDeepest; depth += 4) {
      for (int i = 0; i < (1 << (kDeepest - depth)); ++i) {
        Node *tree = build(depth, static_cast<std::uint32_t>(i));
        checksum = checksum * 31 + walk(tree);
        drop(tree);
      }
    }
    checksum += search_tree_round();
    checksum += list_round();
    checksum += map_round();
  }
  checksum += walk(lasting);
  drop(lasting);
  workload::report(kRounds, checksum);
}
