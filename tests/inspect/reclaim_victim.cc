// A program that forgets blocks, for the option gc=collect. Run by reclaim_test.py case by case. Invariant: prints "held" when, and
// only when, nothing that it still had was touched, and what it forgot came back.
#include <warren/warren.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <random>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

[[noreturn]] void fail(const char *what, unsigned long value) {
  std::printf("%s: %lu\n", what, value);
  std::fflush(stdout);
  std::_Exit(1);
}

size_t peak_mib() {
  FILE *status = std::fopen("/proc/self/status", "r");
  char line[256];
  size_t kib = 0;
  while (std::fgets(line, sizeof line, status) != nullptr) {
    if (std::sscanf(line, "VmHWM: %zu kB", &kib) == 1) break;
  }
  std::fclose(status);
  return kib >> 10;
}

// --- a graph whose parts are forgotten ---

struct Node {
  Node *first, *second;
  uint32_t length;  // of the text behind it, which is the canary
  uint32_t sum;
  char text[1];
};

Node *make_node(std::mt19937 &random) {
  const auto length = static_cast<uint32_t>(random() % 8 == 0 ? random() % 5000 : random() % 100);
  auto *node = static_cast<Node *>(random() % 2 == 0 ? std::malloc(sizeof(Node) + length) : std::calloc(1, sizeof(Node) + length));
  node->first = node->second = nullptr;
  node->length = length;
  node->sum = 0;
  for (uint32_t i = 0; i < length; ++i) {
    node->text[i] = static_cast<char>(random());
    node->sum += static_cast<unsigned char>(node->text[i]) * (i + 1);
  }
  return node;
}

void check(const Node *node) {
  uint32_t sum = 0;
  for (uint32_t i = 0; i < node->length; ++i) sum += static_cast<unsigned char>(node->text[i]) * (i + 1);
  if (sum != node->sum) fail("a node was touched", node->length);
}

constexpr size_t kShared = 64;
std::atomic<Node *> shared[kShared];

void churn(unsigned seed, unsigned steps) {
  std::mt19937 random(seed);
  std::vector<Node *> roots(200, nullptr);
  for (unsigned step = 0; step < steps; ++step) {
    Node *&root = roots[random() % roots.size()];
    switch (random() % 8) {
      case 0:
      case 1:
      case 2: {
        Node *node = make_node(random);
        node->first = root;
        node->second = roots[random() % roots.size()];
        root = node;
        break;
      }
      case 3: root = nullptr; break;  // forgotten, with all that only it leads to
      case 4:  // to another thread, and what that left
        root = shared[random() % kShared].exchange(root, std::memory_order_acq_rel);
        break;
      case 5: {  // one that nobody else knows is freed, or grows
        Node *node = make_node(random);
        if (random() % 2 == 0) {
          node = static_cast<Node *>(std::realloc(node, sizeof(Node) + node->length + random() % 9000));
          check(node);
        }
        std::free(node);
        break;
      }
      default: {
        int depth = 0;
        for (const Node *node = root; node != nullptr && depth < 50; ++depth) {
          check(node);
          node = random() % 2 == 0 ? node->first : node->second;
        }
        // Chains do not grow for ever.
        if (depth == 50 && root != nullptr) root->first = root->second = nullptr;
      }
    }
  }
}

void run_churn() {
  const char *wanted = std::getenv("WARREN_SEED");
  const unsigned seed = wanted != nullptr ? static_cast<unsigned>(std::atoi(wanted)) : std::random_device()();
  const char *soak = std::getenv("WARREN_SOAK");
  std::printf("seed %u\n", seed);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) threads.emplace_back(churn, seed + i, soak != nullptr ? 20'000'000 : 300'000);
  for (auto &thread : threads) thread.join();
}

// --- what is forgotten comes back ---

__attribute__((noinline)) void forget(size_t bytes, size_t size) {
  for (size_t done = 0; done < bytes; done += size) {
    auto *block = static_cast<char *>(std::malloc(size));
    std::memset(block, 1, size);
    asm volatile("" : : "r"(block) : "memory");
  }
}

void run_bounded() {
  for (const size_t size : {size_t{24}, size_t{400}, size_t{5000}, size_t{100000}}) forget(size_t{256} << 20, size);
  const size_t peak = peak_mib();
  if (peak > 512) fail("of 1 GiB that was forgotten too much stayed, MiB", peak);
}

uint64_t objects() {
  wr_mem_stats stats;
  wr_read_mem_stats(&stats);
  return stats.heap_objects;
}

void run_asked() {
  forget(1000 * 64, 64);
  const uint64_t before = objects();
  wr_gc_collect();
  const uint64_t after = objects();
  if (after + 990 > before) fail("of 1000 blocks came back", before - after);
}

// Off at the start, so nothing comes back by itself; then on.
void run_switched() {
  wr_conf_set("gogc", "100");
  run_bounded();
}

void run_forked() {
  const pid_t child = fork();
  if (child == 0) {
    run_bounded();
    run_asked();
    std::_Exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (status != 0) fail("the child's status", static_cast<unsigned long>(status));
  run_asked();
}

}  // namespace

int main(int count, char **arguments) {
  const std::string name = count > 1 ? arguments[1] : "";
  if (name == "churn") run_churn();
  else if (name == "bounded") run_bounded();
  else if (name == "asked") run_asked();
  else if (name == "switched") run_switched();
  else if (name == "forked") run_forked();
  else return 99;
  std::puts("held");
}
