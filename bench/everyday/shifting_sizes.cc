// Claim: a program with many blocks alive that frees one and allocates another, of sizes whose mix changes from phase to phase.
// Held constant: 200,000 live blocks; four phases of 1,000,000 steps, in turn of 16 bytes to 16 KiB (three of five below 128) and of 8
// bytes to 32 KiB (two of five below 64, two of 200 to 399); half of the steps fall on a twentieth of the blocks; one of 16 grows a
// block by half with realloc (beyond 40,000 bytes it shrinks to 24), the others replace it. Unit: one step. Run by bench/run.py.
#include "workload.h"

namespace {

constexpr std::uint32_t kBlocks = 200'000;
constexpr std::uint32_t kHotBlocks = kBlocks / 20;
constexpr std::uint32_t kSteps = 4'000'000;
constexpr std::uint32_t kPhaseSteps = kSteps / 4;
constexpr std::uint32_t kLargest = 40'000;
constexpr std::uint32_t kAfterLargest = 24;

workload::Random generator(0x0123456789abcdefULL);

std::uint64_t next_random() { return generator.next(); }

struct Block {
  unsigned char *data;
  std::uint32_t size;
};

// Mostly small, a few medium, seldom large.
std::uint32_t pick_size(std::uint32_t phase) {
  const std::uint64_t random = next_random();
  const auto choice = static_cast<std::uint32_t>(random & 1023);
  const std::uint64_t rest = random >> 10;
  if (phase % 2 == 0) {
    if (choice < 600) return static_cast<std::uint32_t>(16 + rest % 112);
    if (choice < 900) return static_cast<std::uint32_t>(128 + rest % 384);
    if (choice < 1016) return static_cast<std::uint32_t>(512 + rest % 1536);
    return static_cast<std::uint32_t>(2048 + rest % 14336);
  }
  if (choice < 400) return static_cast<std::uint32_t>(8 + rest % 56);
  if (choice < 800) return static_cast<std::uint32_t>(200 + rest % 200);
  if (choice < 1020) return static_cast<std::uint32_t>(300 + rest % 900);
  return static_cast<std::uint32_t>(4096 + rest % 28672);
}

void fill(unsigned char *data, std::uint32_t from, std::uint32_t to, std::uint32_t tag) {
  std::memset(data + from, static_cast<int>(tag & 0xff), to - from);
}

std::uint64_t add(std::uint64_t checksum, const Block &block) {
  return checksum * 31 + block.data[0] + block.data[block.size / 2] + block.data[block.size - 1];
}

void renew(Block &block, std::uint32_t phase, std::uint32_t tag) {
  block.size = pick_size(phase);
  block.data = static_cast<unsigned char *>(workload::require(std::malloc(block.size)));
  fill(block.data, 0, block.size, tag);
}

void resize(Block &block, std::uint32_t tag) {
  std::uint32_t size = block.size + block.size / 2 + 8;
  if (size > kLargest) size = kAfterLargest;
  auto *data = static_cast<unsigned char *>(workload::require(std::realloc(block.data, size)));
  if (size > block.size) fill(data, block.size, size, tag);
  block.data = data;
  block.size = size;
}

}  // namespace

int main() {
  auto *blocks = static_cast<Block *>(workload::require(std::calloc(kBlocks, sizeof(Block))));
  std::uint64_t checksum = 0;
  for (std::uint32_t i = 0; i < kBlocks; ++i) renew(blocks[i], 0, i);
  for (std::uint32_t step = 0; step < kSteps; ++step) {
    const std::uint32_t phase = step / kPhaseSteps;
    const std::uint64_t random = next_random();
    auto i = static_cast<std::uint32_t>((random >> 8) % kBlocks);
    if ((random & 1) != 0) i %= kHotBlocks;
    Block &block = blocks[i];
    checksum = add(checksum, block);
    if ((random & 0xf0) == 0) {
      resize(block, step);
    } else {
      std::free(block.data);
      renew(block, phase, step);
    }
  }
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    checksum = add(checksum, blocks[i]);
    std::free(blocks[i].data);
  }
  std::free(blocks);
  workload::report(kSteps, checksum);
}
