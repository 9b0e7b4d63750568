// Claim: a key-value store: long-lived values of mixed sizes, updated, deleted and read back.
// Held constant: 100,000 possible keys; values of 16 bytes to a power of two up to 4096, filled when set;
// of ten operations five set, two delete and three get. Unit: one operation. Run by bench/run.py.
#include <string>
#include <unordered_map>

#include "workload.h"

int main() {
  constexpr std::size_t kKeys = 100'000;
  constexpr std::uint64_t kOperations = 2'000'000;
  workload::Random random(13);
  std::unordered_map<std::string, std::pair<char *, std::size_t>> store;
  std::uint64_t checksum = 0;
  for (std::uint64_t i = 0; i < kOperations; ++i) {
    const std::string key = "object:" + std::to_string(random.below(kKeys)) + ":properties";
    const std::size_t kind = random.below(10);
    if (kind < 5) {
      const std::size_t size = random.between(16, std::size_t{16} << random.below(9));
      auto *value = static_cast<char *>(std::malloc(size));
      if (value == nullptr) return 1;
      std::memset(value, static_cast<int>(i & 0x7F), size);
      auto &entry = store[key];
      std::free(entry.first);
      entry = {value, size};
    } else if (auto found = store.find(key); found != store.end()) {
      const auto [value, size] = found->second;
      checksum = checksum * 31 + static_cast<unsigned char>(value[size - 1]);
      if (kind < 7) {
        std::free(value);
        store.erase(found);
      }
    }
  }
  for (const auto &[key, entry] : store) std::free(entry.first);
  workload::report(kOperations, checksum);
}
