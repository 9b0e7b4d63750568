// Claim: threads that only allocate, and threads that only free what those have made; after xmalloc-test.
// Held constant: two of each; 600 batches of 4,096 blocks, of which at most 100 wait in between. Argument: the size, or 0 for one of 17
// sizes of 8 to 2048 bytes. Unit: one block. Run by bench/run.py.
#include <condition_variable>
#include <memory>
#include <mutex>

#include "threads.h"
#include "workload.h"

namespace {

constexpr std::size_t kPairs = 2, kBatches = 300, kBlocks = 4096, kMostWaiting = 100;
constexpr std::size_t kSizes[] = {8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048};

struct Batch {
  void *blocks[kBlocks];
};

std::mutex lock;
std::condition_variable not_full, not_empty;
std::vector<std::unique_ptr<Batch>> waiting;
std::size_t taken = 0;

void produce(std::size_t seed, std::size_t size) {
  workload::Random random(seed + 1);
  for (std::size_t i = 0; i < kBatches; ++i) {
    auto batch = std::make_unique<Batch>();
    for (void *&block : batch->blocks) {
      const std::size_t bytes = size != 0 ? size : kSizes[random.below(17)];
      block = workload::allocate(bytes, i);
      std::memset(block, 1, bytes < 128 ? bytes : 128);
    }
    std::unique_lock<std::mutex> hold(lock);
    not_full.wait(hold, [] { return waiting.size() < kMostWaiting; });
    waiting.push_back(std::move(batch));
    not_empty.notify_one();
  }
}

void consume() {
  for (;;) {
    std::unique_ptr<Batch> batch;
    {
      std::unique_lock<std::mutex> hold(lock);
      not_empty.wait(hold, [] { return !waiting.empty() || taken == kPairs * kBatches; });
      if (waiting.empty()) return;
      batch = std::move(waiting.back());
      waiting.pop_back();
      if (++taken == kPairs * kBatches) not_empty.notify_all();
      not_full.notify_one();
    }
    for (void *block : batch->blocks) std::free(block);
  }
}

}  // namespace

int main(int, char **arguments) {
  const std::size_t size = classics::argument(arguments, 1);
  waiting.reserve(kMostWaiting);
  classics::on_threads(2 * kPairs, [=](std::size_t number) { number < kPairs ? produce(number, size) : consume(); });
  workload::report(kPairs * kBatches * kBlocks, taken);
}
