// A library for loader_victim to open with RTLD_DEEPBIND: its own calls of malloc may then bind to the C
// library's instead of the preloaded ones.
// Invariant: within the library, what it allocates it can free. (What the C library allocates for it, as
// strdup does, it cannot, under any preloaded malloc: free is then bound to another heap than strdup's.)
#include <cstdlib>
#include <cstring>

namespace {
char *g_kept;
}

extern "C" {

int deep_work(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    const auto size = static_cast<std::size_t>(i) * 37 % 50'000 + 8;
    free(g_kept);
    g_kept = static_cast<char *>(malloc(size));
    if (g_kept == nullptr) return 0;
    std::memset(g_kept, 'd', size);
    g_kept = static_cast<char *>(realloc(g_kept, size * 2));
    if (g_kept == nullptr || g_kept[size - 1] != 'd') return 0;
  }
  free(g_kept);
  g_kept = nullptr;
  return 1;
}

void *deep_malloc(std::size_t size) { return malloc(size); }
void deep_free(void *block) { free(block); }

}  // extern "C"
