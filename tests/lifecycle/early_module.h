// What the library early_module hands to the startup and fork victims: blocks it allocated in its
// constructor, and the count of forks its child handler saw.
// Invariant: filled before main, and before a preloaded allocator's own constructor.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

struct EarlyBlocks {
  static constexpr int kCount = 18;  // 8 bytes to 1 MiB
  char *blocks[kCount];
  std::size_t sizes[kCount];
  char *zeroed;
  char *grown;
  char *from_thread;
  std::vector<std::string> *words;
};

EarlyBlocks &early_blocks();
// The library's fork handlers use the heap only after this call: not every fork allows that (in a signal
// handler, or on several threads at once).
void let_early_fork_handlers_act();
int early_forks_seen();
