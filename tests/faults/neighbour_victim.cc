// neighbour_victim: maps pages of its own just behind the heap, where the heap would grow, and goes on allocating: the
// heap must step over them, never write into them, and tell a pointer into them from its own.
// Run by sandbox_test.py. Prints "held" last. Invariant: the foreign pages keep their bytes.
#include <sys/mman.h>

#include "victim.h"

using namespace victim;

namespace {

constexpr size_t kForeign = 12;
constexpr size_t kStep = 4 * kMiB;

unsigned char *g_pages[kForeign];

uintptr_t end_of_mapping_around(const void *block) {
  static char text[1 << 20];
  read_file("/proc/self/maps", text, sizeof text);
  const auto target = reinterpret_cast<uintptr_t>(block);
  for (char *line = text; *line != '\0';) {
    char *end = line;
    const uintptr_t low = strtoul(line, &end, 16);
    const uintptr_t high = strtoul(end + 1, &end, 16);
    if (low <= target && target < high) return high;
    line = strchr(line, '\n');
    if (line == nullptr) break;
    ++line;
  }
  BROKEN("no mapping holds %p", block);
}

}  // namespace

int main() {
  alarm(60);
  require_library();
  void *first = v_malloc(100);
  uintptr_t at = end_of_mapping_around(first);
  size_t mapped = 0;
  for (size_t i = 0; i < kForeign; ++i, at += kStep * (i + 1)) {
    void *page = mmap(reinterpret_cast<void *>(at), kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (page == MAP_FAILED) continue;
    g_pages[mapped] = static_cast<unsigned char *>(page);
    memset(g_pages[mapped++], 0x77, kPage);
  }
  SAY("foreign pages=%zu\n", mapped);
  static void *blocks[400];
  for (size_t round = 0; round < 3; ++round) {
    for (size_t i = 0; i < 400; ++i) {
      const size_t size = (i * 7919) % (1 * kMiB) + 1;
      blocks[i] = v_calloc(1, size);
      if (blocks[i] == nullptr) BROKEN("no memory for %zu beside foreign pages", size);
      if (!all_zero(blocks[i], size)) BROKEN("calloc(1, %zu) is not zero", size);
      memset(blocks[i], 0x11, size);
    }
    for (void *&block : blocks) free_keeping_errno(block);
    v_trim(0);
  }
  for (size_t i = 0; i < mapped; ++i) {
    for (size_t byte = 0; byte < kPage; ++byte) {
      if (g_pages[i][byte] != 0x77) BROKEN("a foreign page was written to");
    }
  }
  free_keeping_errno(first);
  SAY("held\n");
  return 0;
}
