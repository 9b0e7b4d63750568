// Claim: C++ objects, made by new and freed by the delete that is told their size (or their alignment).
// Held constant: 20,000 live objects of five classes of 16 to 192 bytes, one of them aligned to 64; one drawn by the
// seed is replaced. Unit: one object replaced. Run by bench/run.py.
#include <array>
#include <memory>
#include <variant>
#include <vector>

#include "workload.h"

namespace {

template <std::size_t kWords, std::size_t kAlignment = 8>
struct alignas(kAlignment) Object {
  explicit Object(std::uint64_t value) : words{} { words.front() = words.back() = value; }
  std::array<std::uint64_t, kWords> words;
};

using Slot = std::variant<std::unique_ptr<Object<2>>, std::unique_ptr<Object<4>>, std::unique_ptr<Object<7>>,
                          std::unique_ptr<Object<8, 64>>, std::unique_ptr<Object<24>>>;

Slot make(std::size_t which, std::uint64_t value) {
  switch (which) {
    case 0: return std::make_unique<Object<2>>(value);
    case 1: return std::make_unique<Object<4>>(value);
    case 2: return std::make_unique<Object<7>>(value);
    case 3: return std::make_unique<Object<8, 64>>(value);
    default: return std::make_unique<Object<24>>(value);
  }
}

}  // namespace

int main() {
  constexpr std::size_t kLive = 20'000;
  constexpr std::uint64_t kSteps = 9'000'000;
  workload::Random random(26);
  std::vector<Slot> live;
  for (std::size_t i = 0; i < kLive; ++i) live.push_back(make(i % 5, i));
  std::uint64_t checksum = 0;
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    Slot &slot = live[random.below(kLive)];
    checksum = checksum * 31 + std::visit([](const auto &object) { return object->words.back(); }, slot);
    slot = make(random.below(5), step);
  }
  workload::report(kSteps, checksum);
}
