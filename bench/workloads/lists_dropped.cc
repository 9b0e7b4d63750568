// Claim: linked structures built, walked and dropped whole: each walk pays for where the nodes were put.
// Held constant: 24 chains of 5,000 to 20,000 nodes of 24 to 56 bytes, two in three std::list, one hand-made; grown in
// turns node by node, as the seed says, walked five times, then dropped one chain after the other; 6 rounds.
// Unit: one node made, walked and freed. Run by bench/run.py.
#include <array>
#include <list>
#include <utility>

#include "workload.h"

namespace {

struct Link {
  std::uint64_t value;
  Link *next;
};

template <std::size_t kWords>
struct Payload {
  std::array<std::uint64_t, kWords> words;
};

struct Chains {
  std::list<std::uint64_t> plain;  // nodes of 24 bytes
  std::list<Payload<5>> wide;      // nodes of 56 bytes
  Link *links = nullptr;           // 32 to 48 bytes, as the seed says
};

std::uint64_t walk(const Chains &chains) {
  std::uint64_t sum = 0;
  for (const std::uint64_t value : chains.plain) sum += value;
  for (const auto &payload : chains.wide) sum += payload.words[2];
  for (const Link *link = chains.links; link != nullptr; link = link->next) sum += link->value;
  return sum;
}

}  // namespace

int main() {
  constexpr std::size_t kTriples = 8;
  constexpr int kRounds = 6;
  constexpr int kWalks = 5;
  workload::Random random(23);
  std::uint64_t nodes = 0;
  std::uint64_t checksum = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::array<Chains, kTriples> all;
    const std::size_t length = random.between(40'000, 160'000);
    for (std::size_t i = 0; i < length; ++i) {
      Chains &chains = all[random.below(kTriples)];
      chains.plain.push_back(i);
      chains.wide.push_back({{i, i, i, i, i}});
      auto *link = static_cast<Link *>(workload::allocate(random.between(4, 6) * 8, i));
      *link = {i, chains.links};
      chains.links = link;
      nodes += 3;
    }
    for (int i = 0; i < kWalks; ++i) {
      for (const Chains &chains : all) checksum = checksum * 31 + walk(chains);
    }
    for (Chains &chains : all) {
      chains.plain.clear();
      chains.wide.clear();
      while (chains.links != nullptr) std::free(std::exchange(chains.links, chains.links->next));
    }
  }
  workload::report(nodes, checksum);
}
