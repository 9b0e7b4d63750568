// Claim: a program that reads a JSON document into a tree of values, edits it, prints it from the bottom up, and reads that again.
// Held constant: one document of about 12 MB, 70 values nested up to six deep, with arrays and objects of 2 to 11 entries and texts of 1 to
// 8 words; four rounds, each taking an entry from one of eight arrays and adding one to one of eight objects.
// Unit: one round. Run by bench/run.py.
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "workload.h"

namespace {

constexpr int kValues = 70;
constexpr int kDepth = 6;
constexpr int kRounds = 4;

workload::Random generator(0x5555aaaa12345678ULL);

std::uint64_t next_random() { return generator.next(); }

struct Value;
using Pointer = std::unique_ptr<Value>;
using Array = std::vector<Pointer>;
using Object = std::map<std::string, Pointer>;

struct Value {
  std::variant<std::nullptr_t, bool, std::int64_t, std::string, Array, Object> content;
};

std::string random_word() {
  static const char *const syllables[] = {"ka", "lo", "mi", "ter", "san", "do", "ri", "vel", "un", "pha"};
  std::string word;
  for (int left = 2 + static_cast<int>(next_random() % 5); left > 0; --left) word += syllables[next_random() % 10];
  return word;
}

void generate(std::string &output, int depth);

void generate_text(std::string &output) {
  output += '"';
  for (int left = 1 + static_cast<int>(next_random() % 8); left > 0; --left) {
    output += random_word();
    output += left % 5 == 0 ? "\\n" : " ";
  }
  output += '"';
}

void generate_array(std::string &output, int depth) {
  output += '[';
  const int entries = 2 + static_cast<int>(next_random() % 9);
  for (int i = 0; i < entries; ++i) {
    if (i > 0) output += ", ";
    generate(output, depth - 1 - static_cast<int>(next_random() % 2));
  }
  output += ']';
}

void generate_object(std::string &output, int depth) {
  output += '{';
  const int entries = 2 + static_cast<int>(next_random() % 10);
  for (int i = 0; i < entries; ++i) {
    if (i > 0) output += ", ";
    output += '"' + random_word() + "\": ";
    generate(output, depth - 1 - static_cast<int>(next_random() % 2));
  }
  output += '}';
}

void generate(std::string &output, int depth) {
  const std::uint64_t kind = depth <= 0 ? next_random() % 4 : 4 + next_random() % 3;
  if (kind == 0) {
    output += (next_random() & 1) != 0 ? "true" : "false";
  } else if (kind == 1) {
    output += std::to_string(static_cast<std::int64_t>(next_random() % 2'000'000) - 1'000'000);
  } else if (kind == 2) {
    generate_text(output);
  } else if (kind == 3) {
    output += "null";
  } else if (kind == 4) {
    generate_array(output, depth);
  } else {
    generate_object(output, depth);
  }
}

class Parser {
 public:
  explicit Parser(const std::string &text) : text_(text) {}

  Pointer value() {
    skip_space();
    auto result = std::make_unique<Value>();
    if (at_ >= text_.size()) fail();
    const char first = text_[at_];
    if (first == '{') {
      ++at_;
      result->content = object();
    } else if (first == '[') {
      ++at_;
      result->content = array();
    } else if (first == '"') {
      result->content = string();
    } else if (first == 't') {
      at_ += 4;
      result->content = true;
    } else if (first == 'f') {
      at_ += 5;
      result->content = false;
    } else if (first == 'n') {
      at_ += 4;
      result->content = nullptr;
    } else {
      const char *start = text_.c_str() + at_;
      char *end;
      result->content = static_cast<std::int64_t>(std::strtoll(start, &end, 10));
      if (end == start) fail();
      at_ = static_cast<std::size_t>(end - text_.c_str());
    }
    return result;
  }

 private:
  [[noreturn]] void fail() const {
    std::fprintf(stderr, "bad input at %zu\n", at_);
    std::exit(1);
  }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }

  void expect(char wanted) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != wanted) fail();
    ++at_;
  }

  bool accept(char wanted) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }

  std::string string() {
    expect('"');
    std::string result;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] == '\\') {
        ++at_;
        result += text_[at_] == 'n' ? '\n' : text_[at_];
      } else {
        result += text_[at_];
      }
      ++at_;
    }
    expect('"');
    return result;
  }

  Array array() {
    Array result;
    if (accept(']')) return result;
    do {
      result.push_back(value());
    } while (accept(','));
    expect(']');
    return result;
  }

  Object object() {
    Object result;
    if (accept('}')) return result;
    do {
      skip_space();
      std::string key = string();
      expect(':');
      result[std::move(key)] = value();
    } while (accept(','));
    expect('}');
    return result;
  }

  const std::string &text_;
  std::size_t at_ = 0;
};

std::string quote(const std::string &text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '\n') {
      result += "\\n";
    } else {
      result += c;
    }
  }
  return result + "\"";
}

// From the bottom up, each value a string of its own, as simple printers do.
std::string print(const Value &value) {
  if (const auto *boolean = std::get_if<bool>(&value.content)) return *boolean ? "true" : "false";
  if (const auto *number = std::get_if<std::int64_t>(&value.content)) return std::to_string(*number);
  if (const auto *text = std::get_if<std::string>(&value.content)) return quote(*text);
  if (const auto *array = std::get_if<Array>(&value.content)) {
    std::string result = "[";
    for (const Pointer &entry : *array) {
      if (result.size() > 1) result += ",";
      result += print(*entry);
    }
    return result + "]";
  }
  if (const auto *object = std::get_if<Object>(&value.content)) {
    std::string result = "{";
    for (const auto &entry : *object) {
      if (result.size() > 1) result += ",";
      result += quote(entry.first) + ":" + print(*entry.second);
    }
    return result + "}";
  }
  return "null";
}

void edit(Value &value) {
  if (const auto *number = std::get_if<std::int64_t>(&value.content)) {
    if (*number % 7 == 0) value.content = "number " + std::to_string(*number) + " spelled as text";
  } else if (auto *array = std::get_if<Array>(&value.content)) {
    if (array->size() > 3 && next_random() % 8 == 0) array->erase(array->begin() + 1);
    for (const Pointer &entry : *array) edit(*entry);
  } else if (auto *object = std::get_if<Object>(&value.content)) {
    for (const auto &entry : *object) edit(*entry.second);
    if (next_random() % 8 == 0) {
      auto added = std::make_unique<Value>();
      added->content = random_word() + random_word();
      (*object)["added-" + random_word()] = std::move(added);
    }
  }
}

}  // namespace

int main() {
  std::string document = "[";
  for (int i = 0; i < kValues; ++i) {
    if (i > 0) document += ",\n";
    generate(document, kDepth);
  }
  document += "]";
  std::uint64_t checksum = document.size();
  for (int round = 0; round < kRounds; ++round) {
    const Pointer root = Parser(document).value();
    edit(*root);
    std::string printed = print(*root);
    for (std::size_t i = 0; i < printed.size(); i += 7) checksum = checksum * 31 + static_cast<std::uint8_t>(printed[i]);
    document = std::move(printed);
  }
  workload::report(kRounds, checksum);
}
