// Claim: a server whose threads come and go, each with the blocks that its predecessor left; after larson.
// Held constant: two lines of 40 threads, 5,000 blocks of 8 to 1000 bytes to each line; a thread replaces 50,000, chosen at random.
// Argument: 1 to free them with their size (C++14). Unit: one replacement. Run by bench/run.py.
#include <new>

#include "threads.h"
#include "workload.h"

namespace {

constexpr std::size_t kLines = 2, kGenerations = 40, kBlocks = 5'000;
constexpr std::uint64_t kReplaced = 50'000;

struct Block {
  void *start;
  std::size_t size;
};

void make(Block &block, workload::Random &random) {
  block.size = random.between(8, 1000);
  block.start = ::operator new(block.size);
  workload::touch(block.start, block.size, block.size);
}

std::uint64_t drop(Block &block, bool sized) {
  const std::uint64_t value = workload::first_word(block.start);
  if (sized) {
    ::operator delete(block.start, block.size);
  } else {
    ::operator delete(block.start);
  }
  return value;
}

std::uint64_t run_line(std::size_t number, bool sized) {
  workload::Random random(number + 99);
  std::vector<Block> blocks(kBlocks);
  std::uint64_t checksum = 0;
  for (Block &block : blocks) make(block, random);
  for (std::size_t i = 0; i < kBlocks; ++i) std::swap(blocks[i], blocks[random.below(kBlocks)]);
  for (std::size_t generation = 0; generation < kGenerations; ++generation) {
    std::thread([&] {
      for (std::uint64_t i = 0; i < kReplaced; ++i) {
        Block &block = blocks[random.below(kBlocks)];
        checksum += drop(block, sized);
        make(block, random);
      }
    }).join();
  }
  for (Block &block : blocks) drop(block, sized);
  return checksum;
}

}  // namespace

int main(int, char **arguments) {
  const bool sized = classics::argument(arguments, 1) != 0;
  std::uint64_t checksums[kLines];
  classics::on_threads(kLines, [&](std::size_t number) { checksums[number] = run_line(number, sized); });
  workload::report(kLines * kGenerations * kReplaced, checksums[0] ^ checksums[1]);
}
