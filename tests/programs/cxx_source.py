"""C++ sources for the compiler tests: generated, deterministic, heavy on standard headers and templates.

Used by gxx_test.py and clangxx_test.py. Invariant: valid C++20 for g++ 12 and clang++ 14 with libstdc++ 12, and the
program's output depends on nothing but its source.
"""

kBigHeaders = "algorithm chrono functional map numeric optional sstream string tuple unordered_map variant vector iomanip".split()
kProgramHeaders = "cstdint future iostream map memory stdexcept string thread vector".split()

kBig = r"""
template <int N> struct Shape@ {
  std::map<std::string, std::vector<std::variant<int, double, std::string>>> table;
  template <class T> auto add(std::string key, T value) { table[key + std::to_string(N)].push_back(value); return table.size(); }
  template <std::size_t... I> std::size_t spread(std::index_sequence<I...>) { return (0u + ... + add("k" + std::to_string(I), double(I) + N)); }
};
std::size_t work@(const std::string& text) {
  Shape@<@> shape;
  std::size_t total = shape.spread(std::make_index_sequence<24>());
  std::unordered_map<std::string, std::tuple<int, std::string, std::optional<double>>> index;
  for (auto& [name, values] : shape.table)
    for (auto& value : values)
      std::visit([&, key = name](auto& v) { if constexpr (std::is_arithmetic_v<std::decay_t<decltype(v)>>) index[key] = {int(v), key, double(v)}; }, value);
  std::vector<std::pair<std::string, int>> sorted;
  for (auto& [key, entry] : index) sorted.emplace_back(key, std::get<0>(entry));
  std::sort(sorted.begin(), sorted.end(), [](auto& a, auto& b) { return std::tie(a.second, a.first) < std::tie(b.second, b.first); });
  std::function<std::size_t(std::size_t)> step = [&](std::size_t n) { return n < 2 ? n : step(n - 1) + sorted.size() % (n + @ + 1); };
  std::ostringstream out;
  out << std::setw(8) << std::accumulate(sorted.begin(), sorted.end(), total, [](auto sum, auto& p) { return sum + std::size_t(p.second); }) << text;
  return step(10) + out.str().size();
}
"""

kProgram = r"""
struct Error : std::runtime_error { using std::runtime_error::runtime_error; std::string note = "note"; };
int deep(int n) { std::string local(std::size_t(n) + 20, 'x'); if (n == 0) throw Error("thrown"); return deep(n - 1) + int(local.size()); }
int main() {
  int caught = 0;
  for (int i = 0; i < 500; i++) { try { deep(i % 20); } catch (const Error& error) { caught += int(error.note.size()); } }
  std::cout << "caught " << caught << '\n';
  std::vector<std::future<std::size_t>> results;
  for (int t = 0; t < 8; t++)
    results.push_back(std::async(std::launch::async, [t] {
      std::map<std::string, std::shared_ptr<std::vector<int>>> owned;
      for (int i = 0; i < 3000; i++) owned["k" + std::to_string(i * 31 % 500)] = std::make_shared<std::vector<int>>(std::size_t(i % 77), t);
      std::size_t size = 0;
      for (auto& [key, value] : owned) size += value->size() * key.size();
      return size;
    }));
  for (auto& result : results) std::cout << result.get() << ' ';
  std::thread([] { thread_local std::vector<std::string> kept(100, std::string(100, 'y')); std::cout << kept.size() << '\n'; }).join();
  struct alignas(64) Line { char bytes[192]; };
  std::vector<std::unique_ptr<Line>> lines;
  for (int i = 0; i < 100; i++) { lines.push_back(std::make_unique<Line>()); if (reinterpret_cast<std::uintptr_t>(lines.back().get()) % 64) return 1; }
#ifdef WITH_ERRORS
  std::map<std::string, int> wrong = lines; wrong.insert(caught); undeclared(results); std::vector<Line&> references;
#endif
  std::cout << "lines " << lines.size() << std::endl;
}
"""


def includes(headers):
    return "".join(f"#include <{header}>\n" for header in headers)


def big(parts=1):
    """One translation unit of some seconds of compile time."""
    return includes(kBigHeaders) + "".join(kBig.replace("@", str(i)) for i in range(parts))


def program():
    """A program that runs: exceptions, threads, over-aligned new; with WITH_ERRORS it does not compile."""
    return includes(kProgramHeaders) + kProgram
