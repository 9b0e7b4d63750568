// Numbers of the own process from /proc, read without allocating. Used by cases about resources.
// Invariant: no call into the malloc family; 0 when a file cannot be read.
#pragma once

#include <cstddef>
#include <fcntl.h>
#include <unistd.h>

namespace contract {

// A number of /proc/self/statm, which counts pages: 0 is the address space, 1 the resident memory.
inline size_t statm_bytes(int field) {
  char text[256];
  const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  const ssize_t got = file < 0 ? -1 : read(file, text, sizeof text - 1);
  if (file >= 0) close(file);
  if (got <= 0) return 0;
  text[got] = '\0';
  const char *at = text;
  for (; field > 0; --field) {
    while (*at != ' ' && *at != '\0') ++at;
    if (*at == ' ') ++at;
  }
  size_t pages = 0;
  for (; *at >= '0' && *at <= '9'; ++at) pages = pages * 10 + static_cast<size_t>(*at - '0');
  return pages * 4096;
}

inline size_t address_space_bytes() { return statm_bytes(0); }
inline size_t resident_bytes() { return statm_bytes(1); }

inline size_t mapping_count() {
  char text[4096];
  const int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  size_t lines = 0;
  for (ssize_t got; (got = read(file, text, sizeof text)) > 0;) {
    for (ssize_t at = 0; at < got; ++at) lines += text[at] == '\n';
  }
  close(file);
  return lines;
}

}  // namespace contract
