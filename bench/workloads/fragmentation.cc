// Claim: holes left by one mix of sizes are used for the next; what counts is peak memory beside the live bytes.
// Held constant: 1,000,000 blocks of one size range, nine of ten freed at random, then blocks of the next range until
// as many bytes are live as at first; five ranges. Unit: one block made and freed. Run by bench/run.py.
#include <array>
#include <utility>
#include <vector>

#include "workload.h"

int main() {
  constexpr std::size_t kBlocks = 1'000'000;
  constexpr std::array<std::pair<std::size_t, std::size_t>, 5> kRanges{
      {{16, 256}, {200, 800}, {16, 96}, {500, 3000}, {64, 400}}};
  workload::Random random(14);
  std::uint64_t operations = 0;
  std::uint64_t checksum = 0;
  std::size_t live_bytes = 0;
  std::size_t goal_bytes = 0;
  std::vector<std::pair<void *, std::size_t>> live;
  live.reserve(4 * kBlocks);
  for (const auto &[low, high] : kRanges) {
    while (goal_bytes == 0 ? live.size() < kBlocks : live_bytes < goal_bytes) {
      const std::size_t size = random.between(low, high);
      live.emplace_back(workload::allocate(size, size), size);
      live_bytes += size;
    }
    goal_bytes = live_bytes;
    std::size_t kept = 0;
    for (const auto &[block, size] : live) {
      if (random.below(10) == 0) {
        live[kept++] = {block, size};
        continue;
      }
      checksum += workload::first_word(block);
      std::free(block);
      live_bytes -= size;
      ++operations;
    }
    live.resize(kept);
  }
  for (const auto &[block, size] : live) std::free(block);
  workload::report(operations + live.size(), checksum);
}
