// Claim: the standard containers that allocate a node for each element.
// Held constant: a list of 100,000, a map of 100,000 and a hash set of 100,000 elements at most; keys seeded.
// Unit: one element inserted or erased. Run by bench/run.py.
#include <list>
#include <map>
#include <unordered_set>

#include "workload.h"

int main() {
  constexpr std::size_t kElements = 100'000;
  constexpr int kRounds = 10;
  workload::Random random(4);
  std::uint64_t operations = 0;
  std::uint64_t checksum = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::list<std::uint64_t> queue;
    for (std::size_t i = 0; i < 5 * kElements; ++i) {
      queue.push_back(random.next());
      if (queue.size() > kElements) {
        checksum += queue.front();
        queue.pop_front();
      }
      operations += 2;
    }
    std::map<std::uint64_t, std::uint64_t> ordered;
    std::unordered_set<std::uint64_t> hashed;
    for (std::size_t i = 0; i < 2 * kElements; ++i) {
      const std::uint64_t key = random.below(kElements);
      if (auto [position, inserted] = ordered.try_emplace(key, i); !inserted) ordered.erase(position);
      if (auto [position, inserted] = hashed.insert(key * 7); !inserted) hashed.erase(position);
      operations += 2;
    }
    for (const auto &[key, value] : ordered) checksum = checksum * 31 + key + value;
    checksum += hashed.size();
  }
  workload::report(operations, checksum);
}
