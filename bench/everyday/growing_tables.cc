// Claim: a program that collects text in buffers that grow, and counts in zeroed tables that are filled in part and dropped.
// Held constant: eight rounds, each of 300,000 lines appended to 400 buffers, the first of which get most (realloc to twice, to one and
// a half, or by 1 KiB; one line of 2,000 trims and drops its buffer), of 40 hash tables from calloc that double from 1 KiB to up to
// 2 MiB, and of 1,200 rows of 1 to 33 KiB from calloc, 40 alive. Unit: one round. Run by bench/run.py.
#include "workload.h"

namespace {

constexpr int kRounds = 8;
constexpr std::size_t kBuffers = 400;
constexpr int kLines = 300'000;
constexpr int kTables = 40;
constexpr std::size_t kFirstCapacity = 128;
constexpr int kRowSets = 4;
constexpr std::size_t kRows = 300;
constexpr std::size_t kLiveRows = 40;

workload::Random generator(0x77777777deadbeefULL);

std::uint64_t next_random() { return generator.next(); }

enum class Policy { kDouble, kHalfMore, kStep };

struct Buffer {
  char *text;
  std::size_t length;
  std::size_t capacity;
  Policy policy;
};

void append(Buffer &buffer, const char *text, std::size_t length) {
  if (buffer.length + length > buffer.capacity) {
    std::size_t capacity = buffer.capacity;
    if (buffer.policy == Policy::kDouble) {
      capacity = capacity * 2;
    } else if (buffer.policy == Policy::kHalfMore) {
      capacity = capacity + capacity / 2;
    } else {
      capacity = capacity + 1024;
    }
    if (capacity < buffer.length + length) capacity = buffer.length + length + 16;
    buffer.text = static_cast<char *>(workload::require(std::realloc(buffer.text, capacity)));
    buffer.capacity = capacity;
  }
  std::memcpy(buffer.text + buffer.length, text, length);
  buffer.length += length;
}

std::uint64_t digest(const char *text, std::size_t length) {
  std::uint64_t hash = length;
  for (std::size_t i = 0; i < length; i += 61) hash = (hash ^ static_cast<unsigned char>(text[i])) * 1099511628211ULL;
  return hash;
}

std::uint64_t collect_lines(int round) {
  auto *buffers = static_cast<Buffer *>(workload::require(std::calloc(kBuffers, sizeof(Buffer))));
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kBuffers; ++i) buffers[i].policy = static_cast<Policy>(i % 3);
  for (int number = 0; number < kLines; ++number) {
    const std::uint64_t random = next_random();
    // The product of two: a few buffers grow long, most remain short.
    const auto skewed = static_cast<unsigned>(((random & 0xffff) * ((random >> 16) & 0xffff)) >> 16);
    Buffer &buffer = buffers[skewed * kBuffers >> 16];
    char line[160];
    const char *remark = (random & (1ULL << 33)) != 0 ? " and a remark that makes this line a good deal longer" : "";
    const int length =
        std::snprintf(line, sizeof line, "round %d line %d value %u%s\n", round, number, static_cast<unsigned>(random >> 40), remark);
    append(buffer, line, static_cast<std::size_t>(length));
    if ((random >> 34) % 2000 == 0) {
      auto *trimmed = static_cast<char *>(workload::require(std::realloc(buffer.text, buffer.length)));
      sum += digest(trimmed, buffer.length);
      std::free(trimmed);
      buffer.text = nullptr;
      buffer.length = 0;
      buffer.capacity = 0;
    }
  }
  for (std::size_t i = 0; i < kBuffers; ++i) {
    if (buffers[i].text != nullptr) sum += digest(buffers[i].text, buffers[i].length);
    std::free(buffers[i].text);
  }
  std::free(buffers);
  return sum;
}

std::uint64_t *new_table(std::size_t capacity) {
  return static_cast<std::uint64_t *>(workload::require(std::calloc(capacity, sizeof(std::uint64_t))));
}

// A set with open addressing, in a zeroed table that is made anew when it is half full.
std::uint64_t fill_table(std::uint32_t items) {
  std::size_t capacity = kFirstCapacity;
  std::size_t used = 0;
  std::uint64_t *table = new_table(capacity);
  std::uint64_t sum = 0;
  for (std::uint32_t item = 0; item < items; ++item) {
    const std::uint64_t value = next_random() | 1;
    if (used * 2 >= capacity) {
      const std::size_t larger_capacity = capacity * 2;
      std::uint64_t *larger = new_table(larger_capacity);
      for (std::size_t i = 0; i < capacity; ++i) {
        if (table[i] == 0) continue;
        std::size_t place = (table[i] >> 20) & (larger_capacity - 1);
        while (larger[place] != 0) place = (place + 1) & (larger_capacity - 1);
        larger[place] = table[i];
      }
      std::free(table);
      table = larger;
      capacity = larger_capacity;
    }
    std::size_t place = (value >> 20) & (capacity - 1);
    while (table[place] != 0 && table[place] != value) place = (place + 1) & (capacity - 1);
    if (table[place] == 0) ++used;
    table[place] = value;
    sum += place;
  }
  std::free(table);
  return sum;
}

// Rows of counters, of which a part is written and all are read.
std::uint64_t count_in_rows() {
  std::uint32_t *rows[kRows];
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kRows; ++i) {
    const std::size_t counters = 256 + next_random() % 8192;
    rows[i] = static_cast<std::uint32_t *>(workload::require(std::calloc(counters, sizeof(std::uint32_t))));
    for (std::size_t k = 0; k < counters / 8; ++k) ++rows[i][next_random() % counters];
    for (std::size_t k = 0; k < counters; ++k) sum += rows[i][k] * (k + 1);
    if (i >= kLiveRows && rows[i - kLiveRows] != nullptr) {
      std::free(rows[i - kLiveRows]);
      rows[i - kLiveRows] = nullptr;
    }
  }
  for (std::uint32_t *row : rows) std::free(row);
  return sum;
}

}  // namespace

int main() {
  std::uint64_t checksum = 0;
  for (int round = 0; round < kRounds; ++round) {
    checksum = checksum * 31 + collect_lines(round);
    for (int i = 0; i < kTables; ++i) checksum = checksum * 31 + fill_table(200U << (next_random() % 10));
    for (int i = 0; i < kRowSets; ++i) checksum = checksum * 31 + count_in_rows();
  }
  workload::report(kRounds, checksum);
}
