// A small library with 4 KiB of thread-local data, opened and closed in a loop by loader_victim.
// Invariant: its thread-local block starts as initialised, in every thread and after every reopening.
#include <cstddef>

namespace {
constexpr std::size_t kBytes = 4096;
thread_local unsigned char t_data[kBytes] = {1, 2, 3};
}  // namespace

// Returns 1 when this thread's data was fresh, then spoils it.
extern "C" int use_thread_data() {
  int fresh = t_data[0] == 1 && t_data[1] == 2 && t_data[2] == 3;
  for (std::size_t i = 3; i < kBytes; ++i) fresh &= t_data[i] == 0;
  for (auto &byte : t_data) byte = 0xee;
  return fresh;
}
