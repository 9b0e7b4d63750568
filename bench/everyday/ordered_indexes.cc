// Claim: an ordered index in memory, once as a B-tree of pages and once as a skip list, with records of variable length.
// Held constant: pages of 528 bytes, list nodes of 24 to 176 bytes, records of 24 to 143; eight rounds of 120,000 insertions by one of
// 10,000,000 keys and 60 erased ranges of 90,000 keys; then 500,000 insertions (three of five) and removals in a list of up to
// 100,000 keys; an insertion of a key that is there replaces the record in the tree, and does nothing in the list.
// Unit: one insertion, removal or erased range. Run by bench/run.py.
#include "workload.h"

namespace {

constexpr int kRounds = 8;
constexpr int kInsertions = 120'000;
constexpr int kRanges = 60;
constexpr std::uint64_t kTreeKeys = 10'000'000;
constexpr std::uint64_t kRangeWidth = 90'000;
constexpr int kListOperations = 500'000;
constexpr std::uint64_t kListKeys = 100'000;
constexpr int kPageKeys = 32;
constexpr int kHighest = 20;

workload::Random generator(0xb7eeb7eeb7ee1234ULL);

std::uint64_t next_random() { return generator.next(); }

struct Record {
  std::uint64_t key;
  std::uint32_t length;
  char text[];
};

Record *new_record(std::uint64_t key) {
  const std::uint32_t length = 8 + static_cast<std::uint32_t>(next_random() % 120);
  auto *record = static_cast<Record *>(workload::require(std::malloc(sizeof(Record) + length)));
  record->key = key;
  record->length = length;
  std::memset(record->text, static_cast<int>('a' + key % 26), length);
  return record;
}

std::uint64_t digest(const Record *record) {
  return record->key * 31 + record->length + static_cast<unsigned char>(record->text[record->length - 1]);
}

// An inner page has keys and one child more; a leaf has keys and their records.
struct Page {
  int count;
  int leaf;
  std::uint64_t keys[kPageKeys];
  union {
    Page *children[kPageKeys + 1];
    Record *records[kPageKeys];
  };
};

Page *new_page(int leaf) {
  auto *page = static_cast<Page *>(workload::require(std::malloc(sizeof(Page))));
  std::memset(page, 0, sizeof *page);
  page->leaf = leaf;
  return page;
}

// Of an inner page the child for the key, of a leaf the first key that is not less.
int slot_of(const Page *page, std::uint64_t key) {
  int i = 0;
  if (page->leaf) {
    while (i < page->count && page->keys[i] < key) ++i;
  } else {
    while (i < page->count && page->keys[i] <= key) ++i;
  }
  return i;
}

// The ranges may overlap.
template <typename Element>
void move_elements(Element *target, const Element *source, int count) {
  std::memmove(target, source, static_cast<std::size_t>(count) * sizeof(Element));
}

template <typename Element>
void copy_elements(Element *target, const Element *source, int count) {
  std::memcpy(target, source, static_cast<std::size_t>(count) * sizeof(Element));
}

void split_child(Page *page, int i) {
  Page *child = page->children[i];
  Page *right = new_page(child->leaf);
  constexpr int kHalf = kPageKeys / 2;
  const std::uint64_t middle = child->keys[kHalf];
  if (child->leaf) {
    right->count = child->count - kHalf;
    copy_elements(right->keys, child->keys + kHalf, right->count);
    copy_elements(right->records, child->records + kHalf, right->count);
  } else {
    right->count = child->count - kHalf - 1;
    copy_elements(right->keys, child->keys + kHalf + 1, right->count);
    copy_elements(right->children, child->children + kHalf + 1, right->count + 1);
  }
  child->count = kHalf;
  move_elements(page->keys + i + 1, page->keys + i, page->count - i);
  move_elements(page->children + i + 2, page->children + i + 1, page->count - i);
  page->keys[i] = middle;
  page->children[i + 1] = right;
  ++page->count;
}

// Returns the root, which is a new one when the old one was full.
Page *insert(Page *root, std::uint64_t key) {
  if (root->count == kPageKeys) {
    Page *above = new_page(0);
    above->children[0] = root;
    split_child(above, 0);
    root = above;
  }
  Page *page = root;
  while (!page->leaf) {
    int i = slot_of(page, key);
    if (page->children[i]->count == kPageKeys) {
      split_child(page, i);
      if (key >= page->keys[i]) ++i;
    }
    page = page->children[i];
  }
  const int i = slot_of(page, key);
  if (i < page->count && page->keys[i] == key) {
    std::free(page->records[i]);
    page->records[i] = new_record(key);
    return root;
  }
  move_elements(page->keys + i + 1, page->keys + i, page->count - i);
  move_elements(page->records + i + 1, page->records + i, page->count - i);
  page->keys[i] = key;
  page->records[i] = new_record(key);
  ++page->count;
  return root;
}

// Removes every record in [low, high) below the page; says whether the page is an empty leaf, which then leaves its parent.
bool erase_range(Page *page, std::uint64_t low, std::uint64_t high, std::uint64_t &checksum) {
  if (page->leaf) {
    int kept = 0;
    for (int i = 0; i < page->count; ++i) {
      if (page->keys[i] >= low && page->keys[i] < high) {
        checksum += digest(page->records[i]);
        std::free(page->records[i]);
      } else {
        page->keys[kept] = page->keys[i];
        page->records[kept] = page->records[i];
        ++kept;
      }
    }
    page->count = kept;
    return kept == 0;
  }
  int i = slot_of(page, low);
  while (i <= page->count && (i == 0 || page->keys[i - 1] < high)) {
    if (erase_range(page->children[i], low, high, checksum) && page->count > 0) {
      std::free(page->children[i]);
      const int key = i > 0 ? i - 1 : 0;
      move_elements(page->keys + key, page->keys + key + 1, page->count - key - 1);
      move_elements(page->children + i, page->children + i + 1, page->count - i);
      --page->count;
    } else {
      ++i;
    }
  }
  return false;
}

std::uint64_t drop(Page *page) {
  std::uint64_t sum = 0;
  const int parts = page->leaf ? page->count : page->count + 1;
  for (int i = 0; i < parts; ++i) {
    if (page->leaf) {
      sum = sum * 3 + digest(page->records[i]);
      std::free(page->records[i]);
    } else {
      sum = sum * 3 + drop(page->children[i]);
    }
  }
  std::free(page);
  return sum;
}

// A node of the skip list: as many successors as it is high.
struct Node {
  Record *record;
  int height;
  Node *next[];
};

Node *new_node(Record *record, int height) {
  auto *node = static_cast<Node *>(workload::require(std::calloc(1, sizeof(Node) + static_cast<std::size_t>(height) * sizeof(Node *))));
  node->record = record;
  node->height = height;
  return node;
}

std::uint64_t insert_or_remove(Node *head, std::uint64_t key, bool removing) {
  Node *path[kHighest];
  Node *node = head;
  for (int level = kHighest - 1; level >= 0; --level) {
    while (node->next[level] != nullptr && node->next[level]->record->key < key) node = node->next[level];
    path[level] = node;
  }
  node = node->next[0];
  const bool found = node != nullptr && node->record->key == key;
  if (removing && found) {
    const std::uint64_t sum = digest(node->record);
    for (int level = 0; level < node->height; ++level) path[level]->next[level] = node->next[level];
    std::free(node->record);
    std::free(node);
    return sum;
  }
  if (!removing && !found) {
    int height = 1;
    for (std::uint64_t bits = next_random(); height < kHighest && (bits & 3) == 0; bits >>= 2) ++height;
    Node *added = new_node(new_record(key), height);
    for (int level = 0; level < height; ++level) {
      added->next[level] = path[level]->next[level];
      path[level]->next[level] = added;
    }
  }
  return 1;
}

}  // namespace

int main() {
  std::uint64_t checksum = 0;
  Page *root = new_page(1);
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kInsertions; ++i) root = insert(root, next_random() % kTreeKeys);
    for (int i = 0; i < kRanges; ++i) {
      const std::uint64_t low = next_random() % kTreeKeys;
      erase_range(root, low, low + kRangeWidth, checksum);
    }
  }
  Node *head = new_node(nullptr, kHighest);
  for (int i = 0; i < kListOperations; ++i) {
    const bool removing = next_random() % 5 < 2;
    const std::uint64_t key = next_random() % kListKeys;
    checksum = checksum * 31 + insert_or_remove(head, key, removing);
  }
  Node *node = head->next[0];
  while (node != nullptr) {
    Node *next = node->next[0];
    checksum = checksum * 7 + digest(node->record);
    std::free(node->record);
    std::free(node);
    node = next;
  }
  std::free(head);
  checksum += drop(root);
  workload::report(static_cast<std::uint64_t>(kRounds) * (kInsertions + kRanges) + kListOperations, checksum);
}
