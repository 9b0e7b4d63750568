// Claim: how long one call of malloc or free takes, from the usual case to the rare slow one.
// Held constant: two threads with 50,000 slots each; sizes of 16 bytes to 64 KiB, each doubling half as likely; every
// sixteenth block changes threads before it is freed; in the middle and at the end a thread frees nine of ten blocks,
// as a program between two phases does. Every call is timed alone by the time-stamp counter, less what reading it
// costs; where the counter advances in steps, the step is the resolution, and is printed.
// Run by bench/measure.py; prints one line of JSON, in nanoseconds. Invariant: the measuring allocates nothing.
#include <x86intrin.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <thread>
#include <vector>

#include "workload.h"

namespace {

constexpr std::size_t kThreads = 2;
constexpr std::size_t kSlots = 50'000;
constexpr std::uint64_t kSteps = 2'500'000;
constexpr std::size_t kShared = 256;

// Log-linear: 64 buckets to each doubling, so that a bucket is at most 1.6 % wide; exact below 64 ticks.
class Histogram {
 public:
  void add(std::uint64_t ticks) {
    ++counts_[index(ticks)];
    longest_ = std::max(longest_, ticks);
  }

  void merge(const Histogram &other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    longest_ = std::max(longest_, other.longest_);
  }

  // The time that this share of the calls did not exceed (the lower edge of its bucket).
  std::uint64_t quantile(double share) const {
    std::uint64_t total = 0;
    for (const std::uint64_t count : counts_) total += count;
    const auto rank = static_cast<std::uint64_t>(share * static_cast<double>(total));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > rank) return lower_edge(i);
    }
    return longest_;
  }

  std::uint64_t longest() const { return longest_; }

 private:
  static constexpr std::size_t kPerDoubling = 64;
  static constexpr std::size_t kLogPerDoubling = 6;

  static std::size_t index(std::uint64_t ticks) {
    if (ticks < kPerDoubling) return static_cast<std::size_t>(ticks);
    const std::size_t shift = static_cast<std::size_t>(std::bit_width(ticks)) - 1 - kLogPerDoubling;
    return (shift + 1) * kPerDoubling + static_cast<std::size_t>((ticks >> shift) - kPerDoubling);
  }

  static std::uint64_t lower_edge(std::size_t index) {
    if (index < kPerDoubling) return index;
    return (kPerDoubling + index % kPerDoubling) << (index / kPerDoubling - 1);
  }

  std::array<std::uint64_t, (64 - kLogPerDoubling + 1) * kPerDoubling> counts_{};
  std::uint64_t longest_ = 0;
};

// The fences keep the timed call between the two readings: without them a call of 5 ns overlaps with its neighbours.
std::uint64_t ticks_before() {
  _mm_lfence();
  const std::uint64_t ticks = __rdtsc();
  _mm_lfence();
  return ticks;
}

std::uint64_t ticks_after() {
  unsigned cpu;
  const std::uint64_t ticks = __rdtscp(&cpu);
  _mm_lfence();
  return ticks;
}

struct Counter {
  std::uint64_t reading;     // what two readings with nothing between them differ by
  std::uint64_t resolution;  // by how much two such intervals differ, if they do (the median)
};

Counter measure_counter() {
  Histogram empty;
  Histogram steps;
  std::uint64_t last = 0;
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t before = ticks_before();
    const std::uint64_t ticks = ticks_after() - before;
    empty.add(ticks);
    if (ticks != last) steps.add(ticks > last ? ticks - last : last - ticks);
    last = ticks;
  }
  return {empty.quantile(0.5), steps.quantile(0.5)};
}

struct Times {
  Histogram of_malloc;
  Histogram of_free;
};

std::array<Times, kThreads> times;
std::array<std::atomic<void *>, kShared> shared{};
Counter counter;  // set before the threads start

void add(Histogram &histogram, std::uint64_t ticks) {
  histogram.add(ticks > counter.reading ? ticks - counter.reading : 0);
}

void *timed_malloc(Times &mine, std::size_t size) {
  const std::uint64_t before = ticks_before();
  void *block = std::malloc(size);
  add(mine.of_malloc, ticks_after() - before);
  if (block == nullptr) std::abort();
  workload::touch(block, size, size);
  return block;
}

void timed_free(Times &mine, void *block) {
  if (block == nullptr) return;
  const std::uint64_t before = ticks_before();
  std::free(block);
  add(mine.of_free, ticks_after() - before);
}

void work(std::size_t self) {
  Times &mine = times[self];
  workload::Random random(180 + self);
  std::vector<void *> slots(kSlots, nullptr);
  for (std::uint64_t step = 1; step <= kSteps; ++step) {
    void *&block = slots[random.below(kSlots)];
    // acq_rel: the block's content goes with the pointer, both ways.
    if (step % 16 == 0) block = shared[random.below(kShared)].exchange(block, std::memory_order_acq_rel);
    timed_free(mine, block);
    block = timed_malloc(mine, random.exponential(16, 64 << 10));
    if (step % (kSteps / 2) == 0) {
      for (void *&old : slots) {
        if (random.below(10) == 0) continue;
        timed_free(mine, old);
        old = nullptr;
      }
    }
  }
  for (void *block : slots) timed_free(mine, block);
}

void print(const char *name, const Histogram &histogram, double ns_per_tick) {
  constexpr std::array kShares{0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99995, 0.99999};
  constexpr std::array kNames{"p50", "p75", "p90", "p95", "p99", "p99.5", "p99.9", "p99.95", "p99.99", "p99.995",
                              "p99.999"};
  std::printf("\"%s\": {", name);
  for (std::size_t i = 0; i < kShares.size(); ++i) {
    std::printf("\"%s\": %.1f, ", kNames[i], static_cast<double>(histogram.quantile(kShares[i])) * ns_per_tick);
  }
  std::printf("\"max\": %.1f}", static_cast<double>(histogram.longest()) * ns_per_tick);
}

}  // namespace

int main() {
  const auto start = std::chrono::steady_clock::now();
  const std::uint64_t first_tick = __rdtsc();
  counter = measure_counter();
  std::array<std::thread, kThreads> threads;
  for (std::size_t i = 0; i < kThreads; ++i) threads[i] = std::thread(work, i);
  for (auto &thread : threads) thread.join();
  for (auto &block : shared) std::free(block.load(std::memory_order_relaxed));  // ordered by the joins
  for (std::size_t i = 1; i < kThreads; ++i) {
    times[0].of_malloc.merge(times[i].of_malloc);
    times[0].of_free.merge(times[i].of_free);
  }
  // The counter runs at a constant rate; the whole run is the longest interval there is to measure it by.
  const std::chrono::duration<double, std::nano> elapsed = std::chrono::steady_clock::now() - start;
  const double ns_per_tick = elapsed.count() / static_cast<double>(__rdtsc() - first_tick);
  std::printf("{");
  print("malloc", times[0].of_malloc, ns_per_tick);
  std::printf(", ");
  print("free", times[0].of_free, ns_per_tick);
  std::printf(", \"reading\": %.1f, \"resolution\": %.1f}\n", static_cast<double>(counter.reading) * ns_per_tick,
              static_cast<double>(counter.resolution) * ns_per_tick);
}
