// Claim: blocks made by one thread and freed by another, the case that per-thread caches like least.
// Held constant: two pairs of producer and consumer, batches of 256 blocks of 16 to 256 bytes, at most 32 batches
// waiting in a pair's queue. Unit: one block made and freed. Run by bench/run.py.
#include <array>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "workload.h"

namespace {

constexpr std::size_t kBatch = 256;
constexpr std::size_t kWaiting = 32;
constexpr std::uint64_t kBatches = 25'000;

using Batch = std::array<void *, kBatch>;

// A ring of batches; it allocates nothing, so that all the traffic is the blocks'.
class Queue {
 public:
  void put(const Batch &batch) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return count_ < kWaiting; });
    ring_[(first_ + count_++) % kWaiting] = batch;
    changed_.notify_one();
  }

  void get(Batch &batch) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return count_ > 0; });
    batch = ring_[first_];
    first_ = (first_ + 1) % kWaiting;
    --count_;
    changed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;  // one producer and one consumer: never both wait
  std::size_t first_ = 0;            // guarded by mutex_
  std::size_t count_ = 0;            // guarded by mutex_
  std::array<Batch, kWaiting> ring_{};  // guarded by mutex_
};

void produce(Queue &queue, std::uint64_t seed) {
  workload::Random random(seed);
  Batch batch;
  for (std::uint64_t i = 0; i < kBatches; ++i) {
    for (void *&block : batch) block = workload::allocate(random.between(16, 256), i);
    queue.put(batch);
  }
}

void consume(Queue &queue, std::uint64_t &sum) {
  Batch batch;
  for (std::uint64_t i = 0; i < kBatches; ++i) {
    queue.get(batch);
    for (void *block : batch) {
      sum += workload::first_word(block);
      std::free(block);
    }
  }
}

}  // namespace

int main() {
  constexpr std::size_t kPairs = 2;
  static std::array<Queue, kPairs> queues;
  std::array<std::uint64_t, kPairs> sums{};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kPairs; ++i) {
    threads.emplace_back(produce, std::ref(queues[i]), 70 + i);
    threads.emplace_back(consume, std::ref(queues[i]), std::ref(sums[i]));
  }
  for (auto &thread : threads) thread.join();
  workload::report(kPairs * kBatches * kBatch, sums[0] + sums[1]);
}
