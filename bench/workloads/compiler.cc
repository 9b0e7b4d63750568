// Claim: a compiler: syntax nodes and symbols that live to the end, beside names, scopes and lists that come and go.
// Held constant: 1,500 functions of 600 statements; nodes of 32 to 120 bytes are never freed before the end; each scope
// has a map of strings, each function a vector of lines of text. Unit: one statement. Run by bench/run.py.
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "workload.h"

namespace {

constexpr int kFunctions = 1'500;
constexpr int kStatements = 600;
constexpr std::size_t kNames = 3'000;

struct Node {
  std::uint64_t kind;
  Node *first;
  Node *second;
  Node *made_before;  // all nodes are chained, as an arena would hold them
};

class Unit {
 public:
  ~Unit() {
    while (nodes_ != nullptr) std::free(std::exchange(nodes_, nodes_->made_before));
  }

  void function() {
    std::map<std::string, Node *> scope;
    std::vector<std::string> lines;
    std::vector<Node *> open;  // operands not yet used
    for (int i = 0; i < kStatements; ++i) {
      const std::string name = name_of(random_.below(kNames));
      Node *leaf = node(nullptr, nullptr);
      if (random_.below(4) == 0) scope[name] = leaf;
      if (const auto found = scope.find(name); found != scope.end()) checksum_ += found->second->kind;
      open.push_back(leaf);
      if (open.size() > 8) {
        Node *second = open.back();
        open.pop_back();
        open.back() = node(open.back(), second);
      }
      lines.push_back("  " + name + " = " + std::to_string(leaf->kind) + ";");
      if (random_.below(50) == 0) scope.clear();  // a block ends
    }
    std::string text;
    for (const std::string &line : lines) text += line;
    checksum_ = checksum_ * 31 + text.size();
    symbols_["function_" + std::to_string(symbols_.size())] = open.back();
  }

  std::uint64_t checksum() const { return checksum_; }

 private:
  Node *node(Node *first, Node *second) {
    auto *made = static_cast<Node *>(workload::allocate(random_.between(4, 15) * 8, 0));
    *made = {random_.below(100), first, second, nodes_};
    return nodes_ = made;
  }

  static std::string name_of(std::size_t number) {
    return std::string(4 + number % 24, static_cast<char>('a' + number % 26)) + std::to_string(number);
  }

  workload::Random random_{25};
  Node *nodes_ = nullptr;
  std::unordered_map<std::string, Node *> symbols_;
  std::uint64_t checksum_ = 0;
};

}  // namespace

int main() {
  Unit unit;
  for (int i = 0; i < kFunctions; ++i) unit.function();
  workload::report(std::uint64_t{kFunctions} * kStatements, unit.checksum());
}
