// A shared library the startup victim is linked to: its constructor runs before a preloaded library's does.
// It allocates, starts a thread that allocates, and registers fork handlers, all before main.
// Invariant: everything it made is still intact and freeable when main asks.
#include "early_module.h"

#include <pthread.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

EarlyBlocks g_blocks;
int g_forks_seen;
bool g_handlers_act = false;
void *g_prepared;

void *allocate_on_thread(void *) {
  auto *block = static_cast<char *>(malloc(5'000));
  if (block != nullptr) std::strcpy(block, "from an early thread");
  return block;
}

// Handlers that need the heap while the allocator may already hold its locks for the fork.
void prepare() {
  if (!g_handlers_act) return;
  g_prepared = malloc(1'000);
  free(malloc(50'000));
}
void parent() {
  if (g_handlers_act) free(g_prepared);
}
void child() {
  if (!g_handlers_act) return;
  free(g_prepared);
  g_prepared = malloc(2'000);
  free(g_prepared);
  ++g_forks_seen;
}

__attribute__((constructor)) void start_early() {
  for (int i = 0; i < EarlyBlocks::kCount; ++i) {
    const auto size = static_cast<std::size_t>(1) << (i + 3);
    g_blocks.blocks[i] = static_cast<char *>(malloc(size));
    g_blocks.sizes[i] = size;
    if (g_blocks.blocks[i] != nullptr) std::memset(g_blocks.blocks[i], 'a' + i % 26, size);
  }
  g_blocks.zeroed = static_cast<char *>(calloc(300, 10));
  g_blocks.grown = static_cast<char *>(realloc(malloc(10), 70'000));
  g_blocks.words = new std::vector<std::string>(1'000, "a string too long to be stored without the heap");
  pthread_t thread;
  if (pthread_create(&thread, nullptr, allocate_on_thread, nullptr) == 0) {
    void *result = nullptr;
    pthread_join(thread, &result);
    g_blocks.from_thread = static_cast<char *>(result);
  }
  pthread_atfork(prepare, parent, child);
}

}  // namespace

EarlyBlocks &early_blocks() { return g_blocks; }
void let_early_fork_handlers_act() { g_handlers_act = true; }
int early_forks_seen() { return g_forks_seen; }
