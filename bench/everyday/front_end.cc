// Claim: a compiler's front end: source text becomes tokens, a tree, resolved names and three-address code, one unit after the other.
// Held constant: 180 units of 40 functions of 20 statements; the tree's nodes lie in chunks of 16 KiB and go with their unit, scopes end
// with their block, and the code of each of 2800 functions is kept until the function is compiled again. Unit: one unit of source.
// Run by bench/run.py.
#include <cctype>
#include <memory>
#include <new>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "workload.h"

namespace {

constexpr int kUnits = 180;
constexpr int kDistinctUnits = 70;  // after these, one that was compiled before, with other contents
constexpr int kFunctions = 40;
constexpr int kStatements = 20;
constexpr std::uint64_t kVariables = 60;
constexpr std::int64_t kConstantLimit = 1'000'003;

workload::Random generator(0x31415926535897ULL);

std::uint64_t draw() { return generator.next(); }

class Arena {
 public:
  Arena() = default;
  Arena(const Arena &) = delete;
  Arena &operator=(const Arena &) = delete;

  ~Arena() {
    while (head_ != nullptr) {
      Chunk *next = head_->next;
      std::free(head_);
      head_ = next;
    }
  }

  void *get(std::size_t size) {
    size = (size + 15) & ~std::size_t{15};
    if (head_ == nullptr || head_->used + size > head_->size) {
      auto *chunk = static_cast<Chunk *>(std::malloc(kHeader + kChunk));
      if (chunk == nullptr) std::abort();
      chunk->next = head_;
      chunk->used = 0;
      chunk->size = kChunk;
      head_ = chunk;
    }
    void *block = reinterpret_cast<char *>(head_) + kHeader + head_->used;
    head_->used += size;
    return block;
  }

 private:
  struct Chunk {
    Chunk *next;
    std::size_t used;
    std::size_t size;
  };

  static constexpr std::size_t kHeader = 32;
  static constexpr std::size_t kChunk = 16'384;
  static_assert(sizeof(Chunk) <= kHeader);

  Chunk *head_ = nullptr;
};

enum TokenKind { kName, kNumber, kPunctuation, kEnd };

struct Token {
  TokenKind kind;
  std::string text;
  int line;
};

std::string make_name() {
  const bool with_suffix = (draw() & 1) != 0;
  const std::uint64_t number = draw() % kVariables;
  return "var_" + std::to_string(number) + (with_suffix ? "_local_name" : "");
}

void make_expression(std::string &source, int depth) {
  if (depth == 0) {
    if (draw() % 3 != 0) {
      source += make_name();
    } else {
      source += std::to_string(draw() % 1000);
    }
    return;
  }
  const bool parenthesized = (draw() & 1) != 0;
  if (parenthesized) source += '(';
  make_expression(source, depth - 1);
  source += " ";
  source += "+-*"[draw() % 3];
  source += " ";
  make_expression(source, static_cast<int>(draw() % static_cast<std::uint64_t>(depth)));
  if (parenthesized) source += ')';
}

std::string make_source(int unit) {
  std::string source;
  for (int function = 0; function < kFunctions; ++function) {
    source += "fn unit" + std::to_string(unit) + "_function_" + std::to_string(function) + " {\n";
    for (int statement = 0; statement < kStatements; ++statement) {
      if (draw() % 9 == 0) {
        source += "  { ";
        source += make_name() + " = ";
        make_expression(source, 2);
        source += "; }\n";
      } else {
        source += "  " + make_name() + " = ";
        make_expression(source, 4);
        source += ";\n";
      }
    }
    source += "}\n";
  }
  return source;
}

std::vector<Token> tokenize(const std::string &source) {
  std::vector<Token> tokens;
  int line = 1;
  for (std::size_t i = 0; i < source.size();) {
    const char c = source[i];
    if (c == '\n') {
      ++line;
      ++i;
    } else if (c == ' ') {
      ++i;
    } else if (std::isalpha(c) || c == '_') {
      std::size_t end = i;
      while (std::isalnum(source[end]) || source[end] == '_') ++end;
      tokens.push_back({kName, source.substr(i, end - i), line});
      i = end;
    } else if (std::isdigit(c)) {
      std::size_t end = i;
      while (std::isdigit(source[end])) ++end;
      tokens.push_back({kNumber, source.substr(i, end - i), line});
      i = end;
    } else {
      tokens.push_back({kPunctuation, std::string(1, c), line});
      ++i;
    }
  }
  tokens.push_back({kEnd, "", line});
  return tokens;
}

struct Symbol {
  std::string name;
  int id;
  int uses = 0;
};

struct Node {
  char operation;  // 'n' a number, 'v' a variable, else an operator
  std::int64_t number;
  Symbol *symbol;
  Node *left;
  Node *right;
};

struct Scope {
  std::unordered_map<std::string, std::unique_ptr<Symbol>> names;
};

class Unit {
 public:
  void read(const std::string &source) { tokens_ = tokenize(source); }

  bool at_end() const { return tokens_[at_].kind == kEnd; }

  // The name of the next function, whose code is then what was appended to code().
  std::string function() {
    ++at_;  // "fn"
    std::string name = tokens_[at_++].text;
    need('{');
    return name;
  }

  void block() {
    scopes_.push_back(std::make_unique<Scope>());
    while (!skip('}')) {
      if (skip('{')) {
        block();
        continue;
      }
      Symbol *target = lookup(tokens_[at_++].text);
      need('=');
      Node *value = expression(0);
      need(';');
      code_.push_back(target->name + "." + std::to_string(target->id) + " = " + emit(value));
    }
    for (const auto &[name, symbol] : scopes_.back()->names) {
      used_ += static_cast<std::uint64_t>(symbol->uses) * static_cast<std::uint64_t>(symbol->id + 1);
    }
    scopes_.pop_back();
  }

  const std::vector<std::string> &code() const { return code_; }
  std::uint64_t used() const { return used_; }

 private:
  Node *make_node(char operation, Node *left = nullptr, Node *right = nullptr) {
    return new (arena_.get(sizeof(Node))) Node{operation, 0, nullptr, left, right};
  }

  bool skip(char c) {
    if (tokens_[at_].kind != kPunctuation || tokens_[at_].text[0] != c) return false;
    ++at_;
    return true;
  }

  void need(char c) {
    if (skip(c)) return;
    std::fprintf(stderr, "line %d: expected %c\n", tokens_[at_].line, c);
    std::exit(1);
  }

  Symbol *lookup(const std::string &name) {
    for (std::size_t i = scopes_.size(); i-- > 0;) {
      const auto found = scopes_[i]->names.find(name);
      if (found != scopes_[i]->names.end()) {
        ++found->second->uses;
        return found->second.get();
      }
    }
    auto symbol = std::make_unique<Symbol>(Symbol{name, ids_++, 1});
    return (scopes_.back()->names[name] = std::move(symbol)).get();
  }

  Node *primary() {
    if (skip('(')) {
      Node *inner = expression(0);
      need(')');
      return inner;
    }
    const Token &token = tokens_[at_++];
    Node *node = make_node(token.kind == kNumber ? 'n' : 'v');
    if (token.kind == kNumber) {
      node->number = std::atoll(token.text.c_str());
    } else {
      node->symbol = lookup(token.text);
    }
    return node;
  }

  Node *expression(int outer_precedence) {
    Node *left = primary();
    while (tokens_[at_].kind == kPunctuation) {
      const char operation = tokens_[at_].text[0];
      const int precedence = operation == '*' ? 2 : operation == '+' || operation == '-' ? 1 : 0;
      if (precedence == 0 || precedence <= outer_precedence) break;
      ++at_;
      Node *right = expression(precedence);
      left = make_node(operation, left, right);
      if (left->left->operation == 'n' && right->operation == 'n') {
        const std::int64_t a = left->left->number;
        const std::int64_t b = right->number;
        left->number = (operation == '+' ? a + b : operation == '-' ? a - b : a * b) % kConstantLimit;
        left->operation = 'n';
      }
    }
    return left;
  }

  std::string emit(Node *node) {
    if (node->operation == 'n') return "#" + std::to_string(node->number);
    if (node->operation == 'v') return node->symbol->name + "." + std::to_string(node->symbol->id);
    std::string left = emit(node->left);
    std::string right = emit(node->right);
    std::string result = "%t" + std::to_string(temporaries_++);
    code_.push_back(result + " = " + left + " " + node->operation + " " + right);
    return result;
  }

  Arena arena_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  std::vector<std::unique_ptr<Scope>> scopes_;
  std::vector<std::string> code_;
  int temporaries_ = 0;
  int ids_ = 0;
  std::uint64_t used_ = 0;
};

}  // namespace

int main() {
  std::unordered_map<std::string, std::vector<std::string>> compiled;  // by function
  std::uint64_t checksum = 0;
  for (int i = 0; i < kUnits; ++i) {
    Unit unit;
    const std::string source = make_source(i % kDistinctUnits);
    unit.read(source);
    while (!unit.at_end()) {
      const std::string name = unit.function();
      const std::size_t from = unit.code().size();
      unit.block();
      compiled[name].assign(unit.code().begin() + static_cast<std::ptrdiff_t>(from), unit.code().end());
    }
    checksum = checksum * 31 + unit.used() + unit.code().size();
    for (const auto &line : unit.code()) checksum = checksum * 131 + line.size() + static_cast<unsigned char>(line.back());
  }
  for (const auto &[name, code] : compiled) {
    for (const auto &line : code) checksum += line.size() * name.size() + static_cast<unsigned char>(line[2]);
  }
  workload::report(kUnits, checksum);
}
