// victim.h: what every victim program of this directory shares: reports without stdio, numbers
// from /proc, patterns that prove a block kept its bytes, and the malloc family behind volatile
// function pointers so that no compiler removes a call. Included by the *_victim.cc files, which
// the Python drivers run under a fault. Invariant: nothing here allocates, so that a victim whose
// every malloc fails still reports what it saw.
#pragma once

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace victim {

constexpr size_t kPage = 4096;
constexpr size_t kKiB = 1024;
constexpr size_t kMiB = 1024 * 1024;

// Exit codes the drivers know: 3 is a broken promise, 4 a wrong set-up, 77 a skip (meson's code).
constexpr int kBroken = 3;
constexpr int kWrongSetup = 4;
constexpr int kSkipped = 77;

inline void write_line(int fd, const char *text, size_t length) {
  while (length > 0) {
    const ssize_t done = write(fd, text, length);
    if (done <= 0) return;  // a closed descriptor: the exit code still tells
    text += done;
    length -= static_cast<size_t>(done);
  }
}

__attribute__((format(printf, 2, 3))) inline void say_to(int fd, const char *format, ...) {
  char line[600];
  va_list args;
  va_start(args, format);
  int length = vsnprintf(line, sizeof line, format, args);
  va_end(args);
  if (length < 0) return;
  if (length >= static_cast<int>(sizeof line)) length = static_cast<int>(sizeof line) - 1;
  write_line(fd, line, static_cast<size_t>(length));
}

#ifndef __FILE_NAME__
#define __FILE_NAME__ (__builtin_strrchr(__FILE__, '/') ? __builtin_strrchr(__FILE__, '/') + 1 : __FILE__)
#endif

#define SAY(...) ::victim::say_to(1, __VA_ARGS__)
// A promise of the allocator was broken: name the place and stop. Safe in any thread or child.
#define BROKEN(...)                                                              \
  do {                                                                           \
    ::victim::say_to(2, "victim: broken at %s:%d: ", __FILE_NAME__, __LINE__);   \
    ::victim::say_to(2, __VA_ARGS__);                                            \
    ::victim::say_to(2, "\n");                                                   \
    _exit(::victim::kBroken);                                                    \
  } while (0)
#define REQUIRE(condition)                        \
  do {                                            \
    if (!(condition)) BROKEN("%s", #condition);   \
  } while (0)

// --- the malloc family, opaque to the optimiser ---------------------------------------------
inline void *(*volatile v_malloc)(size_t) = ::malloc;
inline void *(*volatile v_calloc)(size_t, size_t) = ::calloc;
inline void *(*volatile v_realloc)(void *, size_t) = ::realloc;
inline void *(*volatile v_reallocarray)(void *, size_t, size_t) = ::reallocarray;
inline void (*volatile v_free)(void *) = ::free;
inline void *(*volatile v_memalign)(size_t, size_t) = ::memalign;
inline int (*volatile v_posix_memalign)(void **, size_t, size_t) = ::posix_memalign;
inline void *(*volatile v_aligned_alloc)(size_t, size_t) = ::aligned_alloc;
inline void *(*volatile v_valloc)(size_t) = ::valloc;
inline size_t (*volatile v_usable_size)(void *) = ::malloc_usable_size;
inline int (*volatile v_trim)(size_t) = ::malloc_trim;

// Stops with kWrongSetup unless malloc and free come from the library the driver named. Without
// this a misspelt LD_PRELOAD would pass every test on glibc.
inline void require_library() {
  const char *expected = getenv("WARREN_EXPECT");
  if (expected == nullptr || *expected == '\0') return;  // control run on whatever malloc there is
  const char *slash = strrchr(expected, '/');
  const char *base = slash ? slash + 1 : expected;
  static constexpr const char *kNames[] = {"malloc", "free", "calloc", "realloc", "memalign", "malloc_trim"};
  for (const char *name : kNames) {
    Dl_info info = {};
    void *address = dlsym(RTLD_DEFAULT, name);
    const char *file = address && dladdr(address, &info) && info.dli_fname ? info.dli_fname : "?";
    const char *file_slash = strrchr(file, '/');
    if (strcmp(file_slash ? file_slash + 1 : file, base) != 0) {
      say_to(2, "victim: wrong set-up: %s comes from %s, not from %s\n", name, file, base);
      _exit(kWrongSetup);
    }
  }
}

inline bool on_control() {
  const char *expected = getenv("WARREN_EXPECT");
  return expected == nullptr || *expected == '\0';
}

// --- /proc ----------------------------------------------------------------------------------
// Reads the whole file into a static-size buffer; returns the length, or -1 when it is not there.
inline ssize_t read_file(const char *path, char *buffer, size_t capacity) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  size_t length = 0;
  while (length + 1 < capacity) {
    const ssize_t got = read(fd, buffer + length, capacity - 1 - length);
    if (got <= 0) break;
    length += static_cast<size_t>(got);
  }
  buffer[length] = '\0';
  close(fd);
  return static_cast<ssize_t>(length);
}

// "Rss:   1234 kB" in a smaps_rollup or status file: 1234; -1 when it is not there.
inline long proc_kib(const char *path, const char *key) {
  char text[4096];
  if (read_file(path, text, sizeof text) < 0) return -1;
  const char *at = strstr(text, key);
  return at ? strtol(at + strlen(key), nullptr, 10) : -1;
}

inline long rss_kib() { return proc_kib("/proc/self/smaps_rollup", "\nRss:"); }
inline long vsize_kib() { return proc_kib("/proc/self/status", "\nVmSize:"); }

// --- patterns ---------------------------------------------------------------------------------
inline uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Visits the bytes that carry the pattern: all of them in a small block; in a large one the first
// word of every page and the last bytes, so that each page is really in use and the test is fast.
template <class Visit>
inline void visit_pattern(void *block, size_t size, Visit visit) {
  auto *bytes = static_cast<unsigned char *>(block);
  constexpr size_t kWhole = 16 * kKiB;
  if (size <= kWhole) {
    visit(bytes, size, 0);
    return;
  }
  for (size_t at = 0; at + sizeof(uint64_t) <= size - 16; at += kPage) visit(bytes + at, sizeof(uint64_t), at);
  visit(bytes + size - 16, 16, size);
}

inline void fill_pattern(void *block, size_t size, uint64_t seed) {
  visit_pattern(block, size, [seed](unsigned char *at, size_t length, size_t offset) {
    const uint64_t word = mix(seed ^ offset);
    while (length >= sizeof word) {
      memcpy(at, &word, sizeof word);
      at += sizeof word;
      length -= sizeof word;
    }
    memcpy(at, &word, length);
  });
}

inline bool holds_pattern(void *block, size_t size, uint64_t seed) {
  bool same = true;
  visit_pattern(block, size, [seed, &same](unsigned char *at, size_t length, size_t offset) {
    const uint64_t word = mix(seed ^ offset);
    while (length >= sizeof word) {
      same = same && memcmp(at, &word, sizeof word) == 0;
      at += sizeof word;
      length -= sizeof word;
    }
    same = same && memcmp(at, &word, length) == 0;
  });
  return same;
}

inline bool all_zero(const void *block, size_t size) {
  const auto *bytes = static_cast<const unsigned char *>(block);
  size_t at = 0;
  for (; at < size && reinterpret_cast<uintptr_t>(bytes + at) % 8 != 0; ++at)
    if (bytes[at] != 0) return false;
  for (; at + 8 <= size; at += 8) {
    uint64_t word;
    memcpy(&word, bytes + at, 8);
    if (word != 0) return false;
  }
  for (; at < size; ++at)
    if (bytes[at] != 0) return false;
  return true;
}

// A NULL is legal everywhere in this directory, but it must say ENOMEM.
inline void require_enomem(const void *block) {
  if (block == nullptr && errno != ENOMEM) BROKEN("NULL with errno %d instead of ENOMEM", errno);
}

// free, and the promise that it leaves errno alone.
inline void free_keeping_errno(void *block) {
  errno = 4242;
  v_free(block);
  if (errno != 4242) BROKEN("free changed errno to %d", errno);
}

inline size_t number_after(const char *argument, const char *option) {
  const size_t length = strlen(option);
  if (strncmp(argument, option, length) != 0) return SIZE_MAX;
  return static_cast<size_t>(strtoull(argument + length, nullptr, 0));
}

}  // namespace victim
