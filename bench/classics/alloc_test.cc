// Claim: blocks whose lives differ as those of a server's do: most die young, a few stay; after alloc-test.
// Held constant: 16,384 slots in seven groups, the smallest of which are chosen most often; a step empties a slot or fills it with
// a block of 1 to 4096 bytes, each doubling half as likely, all of which is written and read. Argument: threads.
// Unit: one step. Run by bench/run.py.
#include "threads.h"
#include "workload.h"

namespace {

constexpr std::size_t kSlots = 1 << 14;
constexpr std::uint64_t kSteps = 3'000'000;
constexpr double kShares[] = {0.000064, 0.001536, 0.01536, 0.08192, 0.24576, 0.393216, 0.262144};  // of the slots
constexpr std::size_t kGroups = sizeof kShares / sizeof kShares[0];

struct Slot {
  unsigned char *block = nullptr;
  std::size_t size = 0;
};

void fill(Slot &slot, workload::Random &random) {
  slot.size = random.exponential(1, 4096);
  slot.block = static_cast<unsigned char *>(workload::allocate(slot.size, 0));
  std::memset(slot.block, static_cast<int>(slot.size & 0xff), slot.size);
}

std::uint64_t empty(Slot &slot) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < slot.size; ++i) sum += slot.block[i];
  std::free(slot.block);
  slot.block = nullptr;
  return sum;
}

std::uint64_t work(std::uint64_t seed, std::uint64_t steps) {
  workload::Random random(seed);
  std::vector<Slot> slots(kSlots);
  for (Slot &slot : slots) {
    if (random.below(2) == 0) fill(slot, random);
  }
  // Group number i has the slots from begins[i] on, and is chosen as often as group number kGroups - 1 - i has slots.
  std::size_t begins[kGroups + 1] = {};
  for (std::size_t i = 0; i < kGroups; ++i) begins[i + 1] = begins[i] + static_cast<std::size_t>(kShares[i] * kSlots);
  begins[kGroups] = kSlots;
  std::uint64_t sum = 0;
  for (std::uint64_t step = 0; step < steps; ++step) {
    double chance = static_cast<double>(random.below(1'000'000)) / 1'000'000;
    std::size_t group = 0;
    while (group + 1 < kGroups && chance >= kShares[kGroups - 1 - group]) chance -= kShares[kGroups - 1 - group++];
    const std::size_t size = begins[group + 1] - begins[group];
    Slot &slot = slots[begins[group] + (size == 0 ? 0 : random.below(size))];
    if (slot.block != nullptr) {
      sum += empty(slot);
    } else {
      fill(slot, random);
    }
  }
  for (Slot &slot : slots) {
    if (slot.block != nullptr) sum += empty(slot);
  }
  return sum;
}

}  // namespace

int main(int, char **arguments) {
  const std::size_t threads = classics::argument(arguments, 1);
  std::vector<std::uint64_t> sums(threads);
  classics::on_threads(threads, [&](std::size_t i) { sums[i] = work(3 + i, kSteps / threads); });
  std::uint64_t sum = 0;
  for (const std::uint64_t part : sums) sum += part;
  workload::report(kSteps, sum);
}
