// See block_digests.h.
#include "gc/block_digests.h"

#include "allocator/base/os_memory.h"
#include "allocator/base/os_process.h"
#include "gc/page_tags.h"

namespace warren::gc::block_digests {
namespace {

// One for each block of the arena, as far as the collector's tags go.
uint64_t *digests = nullptr;
size_t covered = 0;  // bytes of the arena
size_t table_bytes = 0;

// Odd numbers with as many ones as zeros; and two words nobody outside knows, so that no program's data digest to the same.
constexpr uint64_t kOdd[4] = {0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0xd6e8feb86659fd93, 0xa5a3b1c94e8f2d6b};
uint64_t secret[2];

uint64_t fold(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

void begin() {
  // Another secret for each cycle: the digests of the last one are of no use, and need not be cleared.
  secret[0] = fold(secret[0] ^ os_process::layout_seed(), kOdd[0]) + kOdd[1];
  secret[1] = fold(secret[1] ^ secret[0], kOdd[2]) + kOdd[3];
  if (covered >= tables.bytes) return;
  if (digests != nullptr) os_memory::unreserve(digests, table_bytes);
  // More than is needed: the heap grows.
  const size_t wanted = tables.bytes + tables.bytes / 2;
  table_bytes = align_up(wanted / kBlockBytes * sizeof(uint64_t), kOsPageSize);
  covered = 0;
  digests = static_cast<uint64_t *>(os_memory::reserve(table_bytes, kOsPageSize));
  if (digests == nullptr) return;
  if (os_memory::prepare(digests, table_bytes, true) != os_memory::PrepareResult::kOk) {
    os_memory::unreserve(digests, table_bytes);
    digests = nullptr;
    return;
  }
  covered = table_bytes / sizeof(uint64_t) * kBlockBytes;
}

uint64_t copy(uintptr_t block, uint64_t marks, uintptr_t (&words)[kBlockWords]) {
  const auto *from = reinterpret_cast<const uintptr_t *>(block);
  uint64_t lanes[4] = {secret[0] ^ marks, secret[1], secret[0] ^ kOdd[1], secret[1] ^ kOdd[2]};
  for (size_t i = 0; i < kBlockWords; i += 8) {
    for (size_t lane = 0; lane < 4; ++lane) {
      // relaxed: a word that changes later makes its page dirty again
      const uintptr_t even = __atomic_load_n(from + i + 2 * lane, __ATOMIC_RELAXED);
      const uintptr_t odd = __atomic_load_n(from + i + 2 * lane + 1, __ATOMIC_RELAXED);
      words[i + 2 * lane] = even;
      words[i + 2 * lane + 1] = odd;
      lanes[lane] = fold(lanes[lane] ^ even ^ kOdd[lane], odd ^ secret[1]) + (lanes[lane] << 32 | lanes[lane] >> 32);
    }
  }
  return fold(fold(lanes[0] ^ kOdd[3], lanes[1] ^ marks), fold(lanes[2] ^ kOdd[0], lanes[3] ^ secret[0])) ^ lanes[0];
}

bool unchanged(uintptr_t block, uint64_t digest) {
  const size_t offset = block - tables.start;
  if (offset >= covered) return false;
  // relaxed, both: whoever stores a digest scans what it stands for before the next pass begins
  uint64_t *known = &digests[offset / kBlockBytes];
  if (__atomic_load_n(known, __ATOMIC_RELAXED) == digest) return true;
  __atomic_store_n(known, digest, __ATOMIC_RELAXED);
  return false;
}

}  // namespace warren::gc::block_digests
