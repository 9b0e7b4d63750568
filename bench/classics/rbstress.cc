// Claim: strings, arrays and hashes of an interpreter that runs short scripts, one to a thread; after rbstress.
// Held constant: 60 scripts, each of 3,000 strings of 10 to 209 bytes and a hash of 2,000 texts to arrays of 1 to 8 numbers. Argument: threads.
// Unit: one script. Run by bench/run.py.
#include <atomic>
#include <string>
#include <unordered_map>

#include "threads.h"
#include "workload.h"

int main(int, char **arguments) {
  constexpr std::size_t kScripts = 60;
  const std::size_t threads = classics::argument(arguments, 1);
  std::atomic<std::uint64_t> checksum{0};  // relaxed: a sum
  classics::on_threads(threads, [&](std::size_t number) {
    for (std::size_t script = number; script < kScripts; script += threads) {
      workload::Random random(script);
      std::vector<std::string> texts;
      std::unordered_map<std::string, std::vector<int>> table;
      for (int i = 0; i < 3000; ++i) {
        texts.emplace_back(random.between(10, 209), 'x');
        table[std::to_string(random.below(2000))].push_back(i);
      }
      std::uint64_t sum = table.size();
      for (const std::string &text : texts) sum += text.size();
      checksum.fetch_add(sum, std::memory_order_relaxed);
    }
  });
  workload::report(kScripts, checksum.load(std::memory_order_relaxed));
}
