// Claim: how long the program is held up by the collector while a large heap of small nodes is live and changes all
// the time.
// Held constant: a forest of trees of 15 nodes of 48 bytes, each owned by one thread; an operation exchanges two
// subtrees, puts a new leaf in an old one's place, and makes four nodes that die at once. Same work as pauses.go.
// Measured twice: by a thread that sleeps and looks how late it wakes (every thread is stopped, and it is one), and
// by the working threads, each of which times every operation (what it pays for allocating is in there, and its page
// faults).
// On malloc the same two say what the machine itself adds.
// Usage: pauses MIB OPERATIONS THREADS. Run by bench/gc.py.
#include "forest.h"
#include "histogram.h"

#include <pthread.h>
#include <sys/prctl.h>

#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr unsigned kShortLived = 4;
constexpr std::uint64_t kPeriod = 100'000;  // of the thread that looks how late it wakes

std::uint64_t sum(const Node *node) {
  return node == nullptr ? 0 : node->values[0] + 3 * sum(node->left) + 5 * sum(node->right);
}

struct Worker {
  Node **trees;  // on the heap
  std::uint64_t count;
  std::uint64_t operations;
  Random random;
  std::uint64_t checksum;
  Histogram times;
};

void operate(Worker &worker) {
  const std::uint64_t dice = worker.random.next();
  Node *one = worker.trees[(dice >> 8) % worker.count];
  Node *other = worker.trees[(dice >> 32) % worker.count];
  rewire(one, other, dice);
  for (unsigned i = 0; i < kShortLived; ++i) {
    Node *node = make(nullptr, nullptr, i);
    worker.checksum += node->values[0];
    heap::drop(node);
  }
}

void *work(void *argument) {
  auto &worker = *static_cast<Worker *>(argument);
  std::uint64_t before = now();
  for (std::uint64_t i = 0; i < worker.operations; ++i) {
    operate(worker);
    const std::uint64_t after = now();
    worker.times.note(after - before);
    before = after;
  }
  return nullptr;
}

std::atomic<bool> over{false};

void *look(void *argument) {
  auto &late = *static_cast<Histogram *>(argument);
  prctl(PR_SET_TIMERSLACK, 1);
  while (!over.load(std::memory_order_relaxed)) {
    const std::uint64_t due = now() + kPeriod;
    const timespec until{static_cast<time_t>(due / 1'000'000'000), static_cast<long>(due % 1'000'000'000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) != 0) {
    }
    late.note_with_omitted(now() - due, kPeriod);
  }
  return nullptr;
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  heap::start();
  const std::uint64_t trees = (std::strtoull(argv[1], nullptr, 10) << 20) / sizeof(Node) / kNodes;
  const std::uint64_t operations = std::strtoull(argv[2], nullptr, 10);
  const std::uint64_t threads = std::strtoull(argv[3], nullptr, 10);
  static std::vector<Worker> workers(threads);  // from malloc: what is on the heap is held by `held` as well
  static Node **held[64];
  if (threads > 64) return 2;
  std::uint64_t value = 0;
  for (std::uint64_t i = 0; i < threads; ++i) {
    Worker &worker = workers[i];
    worker.count = trees / threads;
    worker.operations = operations / threads;
    worker.random = {88172645463325252 + i};
    worker.checksum = 0;
    held[i] = static_cast<Node **>(heap::make(worker.count * sizeof(Node *)));
    worker.trees = held[i];
    for (std::uint64_t k = 0; k < worker.count; ++k) held[i][k] = nullptr;
    for (std::uint64_t k = 0; k < worker.count; ++k) held[i][k] = build(kDepth, value);
  }
  const std::uint64_t cycles_before = heap::cycles();
  static Histogram late;
  pthread_t looker;
  if (pthread_create(&looker, nullptr, look, &late) != 0) return 1;
  const std::uint64_t begin = now();
  std::vector<pthread_t> started(threads);
  for (std::uint64_t i = 0; i < threads; ++i) {
    if (pthread_create(&started[i], nullptr, work, &workers[i]) != 0) return 1;
  }
  for (const pthread_t thread : started) pthread_join(thread, nullptr);
  const std::uint64_t elapsed = now() - begin;
  over.store(true, std::memory_order_relaxed);
  pthread_join(looker, nullptr);
  const std::uint64_t cycles = heap::cycles() - cycles_before;

  static Histogram times;
  std::uint64_t checksum = 0;
  for (const Worker &worker : workers) {
    times.add(worker.times);
    checksum += worker.checksum;
    for (std::uint64_t k = 0; k < worker.count; ++k) checksum = checksum * 7 + sum(worker.trees[k]);
  }
  std::printf("operations %" PRIu64 " checksum %" PRIu64 "\n", operations, checksum);
  std::printf("cycles %" PRIu64 "\nwork_ns %" PRIu64 "\n", cycles, elapsed);
  late.print("late");
  times.print("operation");
}
