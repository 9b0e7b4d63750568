// What the kernel knows of this process's threads: how many there are, those that libc does not know included, and their states.
// Run by the tests of the scavenger and its thread, and by those of stops. Invariant: waiting has no deadline of its own; the test's ends it.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace warren {

inline int tasks() {
  char text[4096] = "";
  const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  const ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
  close(fd);
  if (length > 0) text[length] = '\0';
  const char *line = strstr(text, "\nThreads:");
  return line == nullptr ? -1 : atoi(line + strlen("\nThreads:"));
}

// 'R', 'S' and so on, as in /proc; '?': there is no such thread.
inline char state_of(int id) {
  char path[64], text[256] = "";
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", id);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (read(fd, text, sizeof text - 1) < 0) text[0] = '\0';
  close(fd);
  const char *name_end = strrchr(text, ')');
  return name_end == nullptr ? '?' : name_end[2];
}

inline void await_one_task() {
  while (tasks() != 1) sched_yield();
}

}  // namespace warren
