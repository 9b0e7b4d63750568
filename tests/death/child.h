// Runs one victim program to its end and reports everything it did. Used by the drivers in tests/death
// and tests/lifecycle; victims never include it.
// Invariant: run_child always returns. A victim that hangs is killed with its whole process group and
// reported as timed out, and no victim outlives the call.
#pragma once

#include <string>
#include <vector>

namespace victims {

struct ChildRequest {
  enum class Stderr { kCaptured, kClosed, kBrokenPipe, kFullDevice };

  std::vector<std::string> argv;
  std::vector<std::string> environment;  // "NAME=value", replaces an inherited NAME
  std::vector<int> closed_fds;
  Stderr stderr_state = Stderr::kCaptured;
  int timeout_seconds = 60;
};

struct ChildOutcome {
  int exit_status = -1;  // -1 when a signal ended it
  int signal = 0;        // 0 when it exited
  bool timed_out = false;
  std::string out;
  std::string err;

  bool clean() const { return exit_status == 0 && !timed_out; }
  std::string describe() const;
};

// The exit status by which a victim says "this machine or library cannot play this case".
inline constexpr int kVictimSkips = 77;

ChildOutcome run_child(const ChildRequest &request);

// The library to preload: WARREN_LIB. Empty means none, which only a control run allows.
std::string library_under_test();
// WARREN_CONTROL=1: any malloc may be in use; drivers then compare or count.
bool control_run();
// How many times the usual amount of work to do: 1, or more when WARREN_SOAK is set.
int soak_factor();

}  // namespace victims
