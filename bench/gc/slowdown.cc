// Claim: what marking costs the thread that goes on meanwhile: beside what it does with the collector off, and for each first
// store to a page that the collector watches.
// Held constant: one thread rewires the forest of pauses.cc, and replaces a leaf with each step; so it allocates, and pays for it.
// Measured: its steps with the collector off, when cycles have strewn the trees about; then while cycles follow each other
// that it asks for by what it allocates, and pays for; then while another thread asks for them, so that it pays nothing but
// for its stores and for the caches that it shares. How long marking was on is read from the collector's trace by bench/gc.py.
// Then single stores, one to a page of a large object in no order, with the collector off and with one forced cycle after the
// other; those that took longer than 99.9% of the former are first stores, or were interrupted: the median leaves the
// interrupted ones out.
// Usage: slowdown MIB CYCLES PROCESSORS (0: all there are). Run by bench/gc.py, on warren alone.
#include "forest.h"
#include "histogram.h"

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr std::uint64_t kWindow = 1'000'000'000;
constexpr int kOff = -1, kOften = 20;  // percent: at 20 one cycle all but follows the other
constexpr std::size_t kPage = 4096, kPages = 32768;
constexpr std::uint64_t kForced = 4;  // cycles in which stores are timed

Node **trees;  // on the heap
std::uint64_t tree_count;
Random dice_of_all{88172645463325252};

std::uint64_t cpu_time() {  // of this thread
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

void some_steps() {
  for (unsigned i = 0; i < 1000; ++i) {
    const std::uint64_t dice = dice_of_all.next();
    rewire(trees[(dice >> 8) % tree_count], trees[(dice >> 32) % tree_count], dice);
  }
}

// Steps until `over()`, looked at after each thousand.
template <class Over>
void steps(const char *name, Over over) {
  std::uint64_t count = 0;
  const std::uint64_t begin = now(), cpu_begin = cpu_time();
  while (!over()) {
    some_steps();
    count += 1000;
  }
  const std::uint64_t cpu = cpu_time() - cpu_begin, elapsed = now() - begin;
  std::printf("%s_steps %" PRIu64 "\n%s_ns %" PRIu64 "\n%s_cpu_ns %" PRIu64 "\n", name, count, name, elapsed, name, cpu);
}

// One store to each page, in an order that no prefetching knows.
template <class Note>
void store_to_each(char *pages, Note note) {
  for (std::size_t i = 0; i < kPages; ++i) {
    auto *word = reinterpret_cast<volatile std::uint64_t *>(pages + i * 20011 % kPages * kPage);
    (void)*word;  // its translation and its line are there
    const std::uint64_t before = now();
    *word = i;
    note(now() - before);
  }
}

std::atomic<bool> over{false};

void *collect_on(void *) {
  while (!over.load(std::memory_order_relaxed)) wr_gc_collect();
  return nullptr;
}

std::uint64_t nodes(const Node *node) { return node == nullptr ? 0 : 1 + nodes(node->left) + nodes(node->right); }

}  // namespace

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  if (std::atoi(argv[3]) == 1) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<unsigned>(sched_getcpu()), &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) return 1;
  }
  heap::start();
  wr_gc_set_percent(kOff);
  tree_count = (std::strtoull(argv[1], nullptr, 10) << 20) / sizeof(Node) / kNodes;
  static Node **held;  // a root
  trees = held = static_cast<Node **>(heap::make(tree_count * sizeof(Node *)));
  std::uint64_t value = 0;
  for (std::uint64_t i = 0; i < tree_count; ++i) trees[i] = build(kDepth, value);
  wr_gc_collect();

  const std::uint64_t count = std::strtoull(argv[2], nullptr, 10);
  const auto until_cycles = [](std::uint64_t more) {
    return [wanted = heap::cycles() + more] { return heap::cycles() >= wanted; };
  };
  wr_gc_set_percent(kOften);
  steps("warming", until_cycles(2));
  wr_gc_set_percent(kOff);
  const std::uint64_t until = now() + kWindow;
  steps("off", [=] { return now() >= until; });
  wr_gc_set_percent(kOften);
  steps("on", until_cycles(count));
  wr_gc_set_percent(kOff);
  pthread_t collecting;
  if (pthread_create(&collecting, nullptr, collect_on, nullptr) != 0) return 1;
  steps("forced", until_cycles(count));
  over.store(true, std::memory_order_relaxed);
  pthread_join(collecting, nullptr);

  static char *pages;
  pages = static_cast<char *>(heap::make(kPages * kPage));
  static Histogram without, first;
  for (unsigned i = 0; i < 4; ++i) store_to_each(pages, [](std::uint64_t) {});
  for (unsigned i = 0; i < 4; ++i) store_to_each(pages, [](std::uint64_t time) { without.note(time); });
  const std::uint64_t slow = without.at(0.999);
  const std::uint64_t enough = heap::cycles() + kForced;
  over.store(false, std::memory_order_relaxed);
  if (pthread_create(&collecting, nullptr, collect_on, nullptr) != 0) return 1;
  while (heap::cycles() < enough) {
    store_to_each(pages, [=](std::uint64_t time) {
      if (time > slow) first.note(time);
    });
  }
  over.store(true, std::memory_order_relaxed);
  pthread_join(collecting, nullptr);

  std::uint64_t left = 0;
  for (std::uint64_t i = 0; i < tree_count; ++i) left += nodes(trees[i]);
  std::printf("operations %" PRIu64 " checksum %" PRIu64 "\n", tree_count * kNodes, left);
  std::printf("store_ns %" PRIu64 "\nfirst_store_ns %" PRIu64 "\nfirst_stores %" PRIu64 "\n", without.at(0.5), first.at(0.5),
              first.total());
  return left == tree_count * kNodes ? 0 : 1;
}
