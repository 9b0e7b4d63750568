// Random operations on malloc against a shadow of the heap, alone and by threads that hand blocks to each other.
// Run by meson under the preload. WARREN_SEED repeats a run, WARREN_SOAK=n makes it n times (1: 20 times) as long,
// WARREN_CONTROL=1 runs on whatever malloc there is.
// Invariant: nothing here depends on time, and the seed of a failure is printed.
#include "tests/fuzz/operations.h"
#include "warren/allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>
#include <unistd.h>
#include <vector>

namespace fuzz {
namespace {

constexpr unsigned kWatchdogSeconds = 250;

unsigned multiplier() {
  const char *soak = getenv("WARREN_SOAK");
  const int times = soak == nullptr ? 0 : atoi(soak);
  return times <= 0 ? 1 : times == 1 ? 20 : static_cast<unsigned>(times);
}

unsigned seed_of_run() {
  const char *given = getenv("WARREN_SEED");
  const unsigned seed = given != nullptr ? static_cast<unsigned>(strtoul(given, nullptr, 0)) : std::random_device{}();
  printf("WARREN_SEED=%u\n", seed);
  fflush(stdout);
  return seed;
}

class RandomBytes : public Bytes {
 public:
  explicit RandomBytes(unsigned seed) : random_(seed) {}
  bool empty() const override { return false; }
  uint8_t next() override {
    if (left_ == 0) {
      word_ = random_();
      left_ = sizeof word_;
    }
    const auto byte = static_cast<uint8_t>(word_);
    word_ >>= 8;
    --left_;
    return byte;
  }

 private:
  std::mt19937_64 random_;
  uint64_t word_ = 0;
  unsigned left_ = 0;
};

std::atomic<bool> stop{false};

class OperationsFuzz : public ::testing::Test {
 protected:
  void SetUp() override {
    stop = false;
    complain = [](const std::string &text) {
      ADD_FAILURE() << text;
      stop = true;
    };
    alarm(kWatchdogSeconds * multiplier());
  }
  void TearDown() override {
    alarm(0);
    check_statistics();
  }

  // Whatever happened, every block that was allocated is live or freed.
  static void check_statistics() {
    using Read = void(wr_mem_stats *);
    auto *read = reinterpret_cast<Read *>(dlsym(RTLD_DEFAULT, "wr_read_mem_stats"));
    if (read == nullptr) return;
    wr_mem_stats stats;
    read(&stats);
    EXPECT_EQ(stats.mallocs - stats.frees, stats.heap_objects);
    EXPECT_EQ(stats.heap_inuse + stats.heap_idle, stats.heap_sys);
    for (const auto &row : stats.by_size) EXPECT_GE(row.mallocs, row.frees) << row.size;
  }

  static void play(World &world, unsigned seed, unsigned operations) {
    RandomBytes bytes(seed);
    Player player(world);
    for (unsigned i = 0; i < operations && !stop; ++i) player.one_operation(bytes);
  }
};

TEST_F(OperationsFuzz, TheLibraryUnderTestIsInUse) {
  if (getenv("WARREN_CONTROL") != nullptr) return;
  Dl_info info;
  ASSERT_NE(dladdr(reinterpret_cast<void *>(&malloc), &info), 0);
  EXPECT_NE(strstr(info.dli_fname, "libwarren"), nullptr) << "malloc comes from " << info.dli_fname;
}

TEST_F(OperationsFuzz, OneThread) {
  const unsigned seed = seed_of_run();
  World world;
  play(world, seed, 500'000 * multiplier());
}

TEST_F(OperationsFuzz, ThreadsThatHandBlocksOver) {
  const unsigned seed = seed_of_run();
  World world;
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < 4; ++id) {
    threads.emplace_back([&world, seed, id] { play(world, seed + id, 150'000 * multiplier()); });
  }
  for (std::thread &thread : threads) thread.join();
}

// Threads that come and go: what one leaves on the table, another one frees when the first is long gone.
TEST_F(OperationsFuzz, ThreadsThatComeAndGo) {
  const unsigned seed = seed_of_run();
  World world;
  for (unsigned round = 0; round < 100 * multiplier() && !stop; ++round) {
    std::vector<std::thread> threads;
    for (unsigned id = 0; id < 3; ++id) {
      threads.emplace_back([&world, seed, round, id] { play(world, seed + 3 * round + id, 500); });
    }
    for (std::thread &thread : threads) thread.join();
  }
}

TEST_F(OperationsFuzz, ShortStringsOfBytes) {
  const unsigned seed = seed_of_run();
  RandomBytes random(seed);
  for (unsigned round = 0; round < 3000 * multiplier() && !stop; ++round) {
    std::vector<uint8_t> bytes(random.next() * (1 + random.next() % 8u));
    std::generate(bytes.begin(), bytes.end(), [&random] { return random.next(); });
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
}

// Each file of the corpus as it is, cut short at every length, and with single bytes changed.
TEST_F(OperationsFuzz, Corpus) {
  const unsigned seed = seed_of_run();
  RandomBytes random(seed);
  unsigned files = 0;
  for (const auto &entry : std::filesystem::directory_iterator(FUZZ_CORPUS)) {
    SCOPED_TRACE(entry.path().filename());
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<char> read{std::istreambuf_iterator<char>(file), {}};
    std::vector<uint8_t> bytes(read.begin(), read.end());
    ++files;
    for (size_t length = 0; length <= bytes.size() && !stop; length += 1 + bytes.size() / 64)
      LLVMFuzzerTestOneInput(bytes.data(), length);
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    for (unsigned round = 0; round < 40 * multiplier() && !bytes.empty() && !stop; ++round) {
      bytes[(random.next() * 256u + random.next()) % bytes.size()] = random.next();
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    }
  }
  EXPECT_GE(files, 5u) << "where is the corpus?";
}

}  // namespace
}  // namespace fuzz
