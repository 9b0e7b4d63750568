// Claim: a pipeline of threads: each message is made in one, replaced by its result in a second and dropped in a third.
// Held constant: a producer, two workers and a consumer, queues of at most 64 batches; 9000 batches of 16 to 47 requests with a name and
// a payload of 32 to 511 bytes, one of 20 of 1000 to 7999; each gives a result of 6 words, and half of the results keep their request; the
// consumer holds the last 8192 results. Unit: one message. Run by bench/run.py.
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "workload.h"

namespace {

constexpr int kBatches = 9000;
constexpr std::size_t kWaiting = 64;
constexpr std::size_t kRecent = 8192;
constexpr std::uint64_t kSeed = 0x1234567887654321ULL;

struct Request {
  std::uint64_t id = 0;
  std::string name;
  std::vector<std::uint8_t> payload;
};

struct Result {
  std::uint64_t id = 0;
  std::uint64_t hash = 0;
  std::vector<std::string> words;
  std::unique_ptr<Request> origin;  // dropped by the consumer
};

template <class T>
class Queue {
 public:
  explicit Queue(std::size_t capacity) : capacity_(capacity) {}

  void put(T item) {
    std::unique_lock<std::mutex> lock(mutex_);
    not_full_.wait(lock, [&] { return items_.size() < capacity_; });
    items_.push_back(std::move(item));
    lock.unlock();
    not_empty_.notify_one();
  }

  bool get(T &item) {
    std::unique_lock<std::mutex> lock(mutex_);
    not_empty_.wait(lock, [&] { return !items_.empty() || closed_; });
    if (items_.empty()) return false;
    item = std::move(items_.front());
    items_.pop_front();
    lock.unlock();
    not_full_.notify_one();
    return true;
  }

  void close() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
    }
    not_empty_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable not_empty_;
  std::condition_variable not_full_;
  std::deque<T> items_;  // guarded by mutex_
  std::size_t capacity_;
  bool closed_ = false;  // guarded by mutex_
};

using Batch = std::vector<std::unique_ptr<Request>>;
using Results = std::vector<std::unique_ptr<Result>>;

void produce(Queue<Batch> &output) {
  workload::Random random(kSeed);
  std::uint64_t id = 0;
  for (int i = 0; i < kBatches; ++i) {
    Batch batch;
    const int count = 16 + static_cast<int>(random.next() % 32);
    for (int k = 0; k < count; ++k) {
      auto request = std::make_unique<Request>();
      request->id = id++;
      request->name = "request/" + std::to_string(random.next() % 100'000) + "/of/a/longer/path";
      const bool large = random.next() % 20 == 0;
      const std::size_t size = large ? 1000 + random.next() % 7000 : 32 + random.next() % 480;
      request->payload.resize(size);
      std::uint64_t filler = random.next();
      for (std::uint8_t &byte : request->payload) {
        byte = static_cast<std::uint8_t>(filler >> 56);
        filler = filler * 6364136223846793005ULL + 1;
      }
      batch.push_back(std::move(request));
    }
    output.put(std::move(batch));
  }
  output.close();
}

void work(Queue<Batch> &input, Queue<Results> &output) {
  Batch batch;
  while (input.get(batch)) {
    Results results;
    for (auto &request : batch) {
      auto result = std::make_unique<Result>();
      result->id = request->id;
      std::uint64_t hash = 1469598103934665603ULL;
      for (const std::uint8_t byte : request->payload) hash = (hash ^ byte) * 1099511628211ULL;
      result->hash = hash;
      for (std::size_t i = 0; i < request->name.size();) {
        std::size_t end = request->name.find('/', i);
        if (end == std::string::npos) end = request->name.size();
        result->words.push_back(request->name.substr(i, end - i) + ":" + std::to_string(hash));
        i = end + 1;
      }
      if ((hash & 1) != 0) result->origin = std::move(request);  // else it dies with its batch
      results.push_back(std::move(result));
    }
    batch.clear();
    output.put(std::move(results));
  }
}

}  // namespace

int main() {
  Queue<Batch> requests(kWaiting);
  Queue<Results> results(kWaiting);
  std::uint64_t checksum = 0;
  std::uint64_t count = 0;
  std::thread consumer([&] {
    Results batch;
    std::vector<std::unique_ptr<Result>> recent(kRecent);
    while (results.get(batch)) {
      for (auto &result : batch) {
        std::uint64_t sum = result->hash ^ result->id;
        for (const auto &word : result->words) sum += word.size() * 17 + static_cast<unsigned char>(word[0]);
        if (result->origin) sum += result->origin->payload.back();
        checksum += sum * 0x9E3779B97F4A7C15ULL;
        ++count;
        const std::size_t slot = result->id % recent.size();
        recent[slot] = std::move(result);
      }
    }
  });
  std::thread first_worker(work, std::ref(requests), std::ref(results));
  std::thread second_worker(work, std::ref(requests), std::ref(results));
  std::thread producer(produce, std::ref(requests));
  producer.join();
  first_worker.join();
  second_worker.join();
  results.close();
  consumer.join();
  workload::report(count, checksum);
}
