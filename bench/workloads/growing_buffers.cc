// Claim: buffers that grow: push_back, string append, and realloc in steps.
// Held constant: final lengths drawn by size class (exponential up to 4 MiB), 64 buffers live, same growth rules.
// Unit: one buffer grown to its length and dropped. Run by bench/run.py.
#include <string>
#include <vector>

#include "workload.h"

namespace {

constexpr std::size_t kLive = 64;
constexpr std::size_t kShortest = 64;
constexpr std::size_t kLongest = 4 << 20;

struct ReallocBuffer {
  char *data = nullptr;
  std::size_t size = 0;

  void append(const char *bytes, std::size_t count, std::size_t &capacity) {
    if (size + count > capacity) {
      capacity = size + count + capacity / 2;
      data = static_cast<char *>(std::realloc(data, capacity));
      if (data == nullptr) std::abort();
    }
    std::memcpy(data + size, bytes, count);
    size += count;
  }
};

}  // namespace

int main() {
  constexpr std::uint64_t kBuffers = 1'500'000;
  workload::Random random(5);
  std::uint64_t checksum = 0;
  std::vector<std::vector<std::uint64_t>> vectors(kLive);
  std::vector<std::string> strings(kLive);
  std::vector<ReallocBuffer> raw(kLive);
  const std::string word(24, 'w');
  for (std::uint64_t i = 0; i < kBuffers; ++i) {
    const std::size_t slot = random.below(kLive);
    const std::size_t length = random.exponential(kShortest, kLongest);
    if (i % 3 == 0) {
      std::vector<std::uint64_t> numbers;
      for (std::size_t n = 0; n < length / 8; ++n) numbers.push_back(n ^ i);
      checksum = checksum * 31 + numbers.back();
      vectors[slot] = std::move(numbers);
    } else if (i % 3 == 1) {
      std::string text;
      while (text.size() < length) text += word;
      checksum = checksum * 31 + text.size();
      strings[slot] = std::move(text);
    } else {
      ReallocBuffer buffer;
      std::size_t capacity = 0;
      while (buffer.size < length) buffer.append(word.data(), word.size(), capacity);
      checksum = checksum * 31 + static_cast<unsigned char>(buffer.data[buffer.size - 1]);
      std::free(raw[slot].data);
      raw[slot] = buffer;
    }
  }
  for (const ReallocBuffer &buffer : raw) std::free(buffer.data);
  workload::report(kBuffers, checksum);
}
