// map_limit_victim: a process that has used up vm.max_map_count, or all but a few, frees, trims, grows, forks and
// allocates: the kernel may then refuse to map, to split and even to unmap. Run by limits_test.py.
// Prints "skip" where the kernel's limit is too far away, "held" last.
// Invariant: at the limit every answer is NULL with ENOMEM or a good block; once the mappings are gone, all is well again.
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "victim.h"

namespace {

using namespace victim;

constexpr size_t kHuge = 8;        // blocks that lie there before the mappings run out
constexpr size_t kHugeSize = 3 * kMiB;
constexpr size_t kFar = 1100000;   // a limit beyond this would cost too much time and kernel memory

struct Block {
  void *at;
  size_t size;
};
Block g_blocks[200];
size_t g_answered, g_refused;

void take(Block &slot, void *at, size_t size) {
  require_enomem(at);
  at == nullptr ? ++g_refused : ++g_answered;
  slot = {at, size};
  if (at != nullptr) fill_pattern(at, size, size);
}

void give(Block &slot) {
  if (slot.at == nullptr) return;
  if (!holds_pattern(slot.at, slot.size, slot.size)) BROKEN("a block of %zu lost its bytes", slot.size);
  free_keeping_errno(slot.at);
  slot = {};
}

void *thread_body(void *) {
  errno = 0;
  void *block = v_malloc(5000);
  require_enomem(block);
  free_keeping_errno(block);
  return nullptr;
}

// Everything that may split, merge, move or drop a mapping.
void all_calls(size_t spare) {
  size_t i = 0;
  for (size_t size = 16; size < 16 * kMiB; size = size * 5 / 3 + 8, i += 3) {
    REQUIRE(i + 3 <= sizeof g_blocks / sizeof *g_blocks);
    errno = 0;
    take(g_blocks[i], v_malloc(size), size);
    errno = 0;
    void *zeroed = v_calloc(1, size);
    if (zeroed != nullptr && !all_zero(zeroed, size)) BROKEN("calloc(1, %zu) with %zu spare mappings is not zero", size, spare);
    take(g_blocks[i + 1], zeroed, size);
    errno = 0;
    take(g_blocks[i + 2], v_memalign(64 * kKiB, size), size);
    if (i % 2 == 0) give(g_blocks[i]);
    if (i % 4 == 0) v_trim(0);
  }
  for (size_t k = 0; k < i; ++k) {
    Block &block = g_blocks[k];
    if (block.at == nullptr || k % 3 != 1) continue;
    const size_t size = k % 2 == 0 ? block.size * 3 : block.size / 3 + 1;
    errno = 0;
    void *moved = v_realloc(block.at, size);
    if (moved == nullptr) {
      require_enomem(moved);
      ++g_refused;
      if (!holds_pattern(block.at, block.size, block.size)) BROKEN("a failed realloc(%zu -> %zu) harmed the block", block.size, size);
    } else {
      take(block, moved, size);
    }
  }
  pthread_t thread;
  if (pthread_create(&thread, nullptr, thread_body, nullptr) == 0) pthread_join(thread, nullptr);
  for (size_t k = 0; k < i; ++k) give(g_blocks[k]);
  v_trim(0);
}

}  // namespace

int main() {
  alarm(110);
  require_library();
  all_calls(SIZE_MAX);  // the heap in its usual state
  const long rss_before = rss_kib();
  void *huge[kHuge];
  for (void *&block : huge) {
    block = v_malloc(kHugeSize);
    if (block == nullptr) BROKEN("no %zu bytes in peace", kHugeSize);
    memset(block, 0xcd, kHugeSize);
  }

  // One reservation for the list of our own mappings: the heap is not to know of it.
  auto **maps = static_cast<void **>(mmap(nullptr, kFar * sizeof(void *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  size_t count = 0;
  while (count < kFar) {
    void *page = mmap(nullptr, kPage, count % 2 == 0 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) break;
    maps[count++] = page;
  }
  if (count == kFar) {
    SAY("skip\n");
    return kSkipped;
  }
  REQUIRE(errno == ENOMEM);
  SAY("mappings=%zu\n", count);

  for (size_t spare = 0; spare < 6; ++spare) {
    g_answered = g_refused = 0;
    if (spare < kHuge && spare % 2 == 0) {  // dirty memory comes free at the limit, where it may not be unmapped
      free_keeping_errno(huge[spare]);
      huge[spare] = nullptr;
      if (spare % 4 == 0) v_trim(0);
      errno = 0;
      void *again = v_calloc(1, kHugeSize);
      require_enomem(again);
      if (again != nullptr && !all_zero(again, kHugeSize)) BROKEN("calloc over a block freed at the limit is not zero");
      huge[spare] = again;
      if (again != nullptr) memset(again, 0xcd, kHugeSize);
    }
    all_calls(spare);
    if (spare == 0 || spare == 3) {  // to copy so many mappings takes the kernel a while: not each time
      const pid_t child = fork();
      if (child == 0) {
        alarm(60);
        all_calls(spare);
        _exit(0);
      }
      int status = 0;
      if (child > 0) waitpid(child, &status, 0);
      if (status != 0) BROKEN("the child with %zu spare mappings ended with 0x%x", spare, static_cast<unsigned>(status));
    }
    SAY("spare=%zu answered=%zu refused=%zu\n", spare, g_answered, g_refused);
    munmap(maps[--count], kPage);
  }
  while (count > 0) munmap(maps[--count], kPage);
  munmap(maps, kFar * sizeof(void *));

  g_answered = g_refused = 0;
  all_calls(SIZE_MAX);
  if (g_refused != 0) BROKEN("%zu requests refused after the mappings had gone", g_refused);
  for (void *block : huge) free_keeping_errno(block);
  v_trim(0);
  v_trim(0);
  const long rss_after = rss_kib();
  SAY("rss=%ld before=%ld\n", rss_after, rss_before);
  if (!on_control() && rss_after > rss_before + 4096) BROKEN("%ld KiB stay resident, %ld before", rss_after, rss_before);
  SAY("held\n");
  return 0;
}
