// A whole program's input for bench/run.py: a file that makes the compiler work (templates of the standard library).
// It is only compiled, never run. Invariant: it includes the standard library and nothing else.
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

template <int N>
struct Layer {
  using Next = Layer<N - 1>;
  std::map<std::string, std::variant<int, double, std::string, std::vector<int>>> values;
  typename Next::Type next;
  using Type = std::unique_ptr<Layer<N>>;

  int visit() const {
    int total = N;
    for (const auto &[key, value] : values) {
      total += std::visit([](const auto &content) { return static_cast<int>(sizeof content); }, value);
    }
    return next ? total + next->visit() : total;
  }
};

template <>
struct Layer<0> {
  using Type = std::unique_ptr<Layer<0>>;
  int visit() const { return 0; }
};

template struct Layer<12>;

int count_words(const std::string &text) {
  std::istringstream in(text);
  std::unordered_map<std::string, int> counts;
  for (std::string word; in >> word;) ++counts[word];
  std::vector<std::pair<int, std::string>> order;
  for (const auto &[key, value] : counts) order.emplace_back(value, key);
  std::sort(order.begin(), order.end(), std::greater<>());
  std::ostringstream out;
  for (const auto &[value, key] : order) out << key << ' ' << value << '\n';
  return static_cast<int>(out.str().size());
}
