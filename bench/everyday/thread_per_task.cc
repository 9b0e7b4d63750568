// Claim: a thread for every small task: it parses a request, builds a map, and leaves its answer to the thread that started it.
// Held constant: 4000 rounds of 4 threads; requests of 20 to 79 fields; 20 scratch blocks of 256 to 6255 bytes per task, one at a time; an
// answer with a text, a vector and a block of 1024 to 9215 bytes, which replaces one of 500 that are kept. Unit: one task (thread).
// Run by bench/run.py.
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "workload.h"

namespace {

constexpr int kRounds = 4000;
constexpr int kThreads = 4;
constexpr std::size_t kKept = 500;
constexpr int kScratchBlocks = 20;
constexpr std::uint64_t kSeed = 0xABCDEF0123456789ULL;

struct Answer {
  std::string text;
  std::vector<std::uint32_t> counts;
  char *block = nullptr;  // made in the task's thread, freed by the one that started it
  std::size_t block_size = 0;

  ~Answer() { std::free(block); }
};

std::string make_request(std::uint64_t seed) {
  workload::Random random(seed);
  std::string request;
  const int fields = 20 + static_cast<int>(random.next() % 60);
  for (int i = 0; i < fields; ++i) {
    if (i != 0) request += '&';
    const std::uint64_t value = random.next() % 1'000'000'000;
    const std::uint64_t name = random.next() % 40;
    request += "field" + std::to_string(name) + "=" + std::to_string(value);
  }
  return request;
}

std::unique_ptr<Answer> handle(const std::string &request, std::uint64_t seed) {
  workload::Random random(seed);
  std::map<std::string, std::vector<std::string>> fields;
  std::size_t i = 0;
  while (i < request.size()) {
    std::size_t end = request.find('&', i);
    if (end == std::string::npos) end = request.size();
    std::string field = request.substr(i, end - i);
    const std::size_t equals = field.find('=');
    fields[field.substr(0, equals)].push_back(field.substr(equals + 1));
    i = end + 1;
  }
  auto answer = std::make_unique<Answer>();
  for (const auto &[name, values] : fields) {
    answer->text += name + ": ";
    std::uint32_t count = 0;
    for (const auto &value : values) {
      answer->text += value + ",";
      count += static_cast<std::uint32_t>(value.size());
    }
    answer->text += "\n";
    answer->counts.push_back(count);
  }
  for (int k = 0; k < kScratchBlocks; ++k) {
    const std::size_t size = 256 + random.next() % 6000;
    char *scratch = static_cast<char *>(std::malloc(size));
    if (scratch == nullptr) std::abort();
    std::memset(scratch, k, size);
    answer->counts.push_back(static_cast<std::uint32_t>(scratch[size / 2] + size));
    std::free(scratch);
  }
  answer->block_size = 1024 + random.next() % 8192;
  answer->block = static_cast<char *>(std::malloc(answer->block_size));
  if (answer->block == nullptr) std::abort();
  std::memset(answer->block, static_cast<int>(random.next() & 0x7F), answer->block_size);
  return answer;
}

}  // namespace

int main() {
  workload::Random random(kSeed);
  std::uint64_t checksum = 0;
  std::vector<std::unique_ptr<Answer>> kept(kKept);
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::thread> threads;
    std::vector<std::unique_ptr<Answer>> answers(kThreads);
    for (int i = 0; i < kThreads; ++i) {
      const std::uint64_t seed = random.next() | 1;
      threads.emplace_back([seed, i, &answers, request = make_request(seed)] { answers[i] = handle(request, seed); });
    }
    for (auto &thread : threads) thread.join();
    for (auto &answer : answers) {
      for (const std::uint32_t count : answer->counts) checksum = checksum * 31 + count;
      const auto middle = static_cast<unsigned char>(answer->text[answer->text.size() / 2]);
      checksum = checksum * 131 + answer->text.size() + middle + answer->block_size;
      kept[random.next() % kept.size()] = std::move(answer);
    }
  }
  for (const auto &answer : kept) {
    if (answer) checksum = checksum * 7 + static_cast<unsigned char>(answer->block[answer->block_size - 1]);
  }
  workload::report(std::uint64_t{kRounds} * kThreads, checksum);
}
