// Claim: texts cut into fields, as awk does: three blocks in four are 1 to 8 bytes, and a table is dropped in no order.
// Held constant: 100,000 fields of 1 to 64 bytes, a quarter above 8; 2,000,000 of them replaced one at a time, where the seed
// says; then all freed in an order that has nothing to do with the one they came in; 3 rounds.
// Unit: one field made and freed. Run by bench/run.py.
#include <vector>

#include "workload.h"

namespace {

std::size_t field_size(workload::Random &random) {
  const std::size_t size = random.between(1, 8);
  return random.below(4) != 0 ? size : 8 * size;
}

}  // namespace

int main() {
  constexpr std::size_t kFields = 100'000;
  constexpr std::size_t kReplaced = 2'000'000;
  constexpr std::size_t kStride = 7'919;  // prime to kFields
  constexpr int kRounds = 3;
  workload::Random random(41);
  std::uint64_t checksum = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<unsigned char *> fields(kFields);
    const auto make = [&](std::uint64_t tag) {
      auto *field = static_cast<unsigned char *>(std::malloc(field_size(random)));
      *field = static_cast<unsigned char>(tag);
      return field;
    };
    for (std::size_t i = 0; i < kFields; ++i) fields[i] = make(i);
    for (std::size_t i = 0; i < kReplaced; ++i) {
      unsigned char *&field = fields[random.below(kFields)];
      checksum = checksum * 31 + *field;
      std::free(field);
      field = make(i);
    }
    for (std::size_t i = 0; i < kFields; ++i) std::free(fields[i * kStride % kFields]);
  }
  workload::report(kRounds * (kFields + kReplaced), checksum);
}
