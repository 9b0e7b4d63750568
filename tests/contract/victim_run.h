// Starts a victim with a given malloc and collects what it says. Used by contract_test.cc.
// Invariant: the victim's malloc is the preloaded library's, or glibc's and told so by WARREN_CONTROL.
#pragma once

#include <cstring>
#include <spawn.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace contract {

struct Outcome {
  int status;  // as from waitpid; -1 when it could not be started
  std::string output;
};

// The own environment but for the preload and for what tunes glibc's malloc (meson sets MALLOC_PERTURB_, which
// makes it write to every block); `preload` empty means glibc's malloc.
inline std::vector<std::string> victim_environment(const std::string &preload) {
  std::vector<std::string> variables;
  for (char **each = environ; *each != nullptr; ++each) {
    bool passed_on = true;
    for (const char *prefix : {"LD_PRELOAD=", "WARREN_CONTROL=", "MALLOC_", "GLIBC_TUNABLES="}) {
      passed_on = passed_on && strncmp(*each, prefix, strlen(prefix)) != 0;
    }
    if (passed_on) variables.emplace_back(*each);
  }
  variables.push_back(preload.empty() ? "WARREN_CONTROL=1" : "LD_PRELOAD=" + preload);
  return variables;
}

inline std::vector<char *> pointers_to(std::vector<std::string> &texts) {
  std::vector<char *> pointers;
  for (std::string &text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Standard output and standard error, in the order written.
inline Outcome run_victim(std::vector<std::string> command, const std::string &preload) {
  Outcome outcome{-1, ""};
  int ends[2];
  if (pipe(ends) != 0) return outcome;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  posix_spawn_file_actions_addclose(&actions, ends[0]);
  posix_spawn_file_actions_addclose(&actions, ends[1]);
  std::vector<std::string> variables = victim_environment(preload);
  pid_t child = -1;
  const int error = posix_spawn(&child, command[0].c_str(), &actions, nullptr, pointers_to(command).data(), pointers_to(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;) outcome.output.append(buffer, static_cast<size_t>(got));
  close(ends[0]);
  if (error != 0) outcome.output = "cannot start " + command[0] + ": " + strerror(error);
  else if (waitpid(child, &outcome.status, 0) != child) outcome.status = -1;
  return outcome;
}

}  // namespace contract
