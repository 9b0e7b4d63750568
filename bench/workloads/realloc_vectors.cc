// Claim: the realloc path alone: arrays of plain data that grow by half of their length, many at the same time.
// Held constant: 16 arrays grow in turns from 64 bytes to 4 MiB and are dropped; growth factor 1.5, a word written
// into every page that was added. Unit: one realloc. Run by bench/run.py.
#include <array>

#include "workload.h"

int main() {
  constexpr std::size_t kArrays = 16;
  constexpr std::size_t kShortest = 64;
  constexpr std::size_t kLongest = 4 << 20;
  constexpr std::size_t kOsPage = 4096;
  constexpr int kRounds = 20;
  std::uint64_t operations = 0;
  std::uint64_t checksum = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::array<unsigned char *, kArrays> arrays{};
    std::size_t size = 0;
    for (std::size_t next = kShortest; next <= kLongest; next += next / 2) {
      for (std::size_t i = 0; i < kArrays; ++i) {
        auto *grown = static_cast<unsigned char *>(std::realloc(arrays[i], next));
        if (grown == nullptr) return 1;
        arrays[i] = grown;
        if (size != 0) checksum = checksum * 31 + grown[0] + grown[size - 1];
        for (std::size_t offset = size; offset < next; offset += kOsPage) grown[offset] = static_cast<unsigned char>(i);
        grown[next - 1] = static_cast<unsigned char>(next);
        ++operations;
      }
      size = next;
    }
    for (unsigned char *array : arrays) std::free(array);
  }
  workload::report(operations, checksum);
}
