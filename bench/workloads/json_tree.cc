// Claim: documents of strings, arrays and objects built node by node and dropped at once (JSON, XML, ASTs).
// Held constant: 40 documents of about 50,000 values, the last three kept; strings of 4 to 60 characters.
// Unit: one value built and dropped. Run by bench/run.py.
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "workload.h"

namespace {

struct Value;
using Array = std::vector<Value>;
using Object = std::map<std::string, std::unique_ptr<Value>>;

struct Value {
  std::variant<double, std::string, Array, Object> content;
};

std::string text(workload::Random &random) {
  return std::string(random.between(4, 60), static_cast<char>('a' + random.below(26)));
}

Value build(workload::Random &random, int depth, std::uint64_t &values) {
  ++values;
  Value value;
  const std::size_t kind = depth == 0 ? random.below(2) : 2 + random.below(2);
  if (kind == 0) {
    value.content = static_cast<double>(random.below(1000));
  } else if (kind == 1) {
    value.content = text(random);
  } else if (kind == 2) {
    Array array;
    for (std::size_t i = random.between(4, 14); i > 0; --i) array.push_back(build(random, depth - 1, values));
    value.content = std::move(array);
  } else {
    Object object;
    for (std::size_t i = random.between(4, 14); i > 0; --i) {
      object[text(random)] = std::make_unique<Value>(build(random, depth - 1, values));
    }
    value.content = std::move(object);
  }
  return value;
}

}  // namespace

int main() {
  constexpr int kDocuments = 40;
  constexpr int kDepth = 5;
  constexpr std::size_t kKept = 3;
  workload::Random random(12);
  std::uint64_t values = 0;
  std::deque<Value> kept;
  for (int i = 0; i < kDocuments; ++i) {
    kept.push_back(build(random, kDepth, values));
    if (kept.size() > kKept) kept.pop_front();
  }
  kept.clear();
  workload::report(values, values);
}
