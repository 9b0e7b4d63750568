// What the victims here share: much memory that is allocated and freed, and the scavenger as seen from outside:
// resident memory, threads, statistics. Run by scavenger_test.py through the *_victim programs, one scenario a process.
// Invariant: no verdict depends on how quick anything is; what must come to pass is waited for, with a generous
// deadline.
#pragma once

#include "../faults/victim.h"

#include <dirent.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "warren/allocator.h"

namespace observe {

using namespace victim;

struct Scenario {
  const char *name;
  void (*run)(int argc, char **argv);
};

constexpr unsigned kWatchdogSeconds = 110;
constexpr double kDeadlineSeconds = 60;
constexpr size_t kKeptMiB = 40;  // what may stay of memory that was freed

inline double seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

inline void pause_ms(long ms) {
  const timespec time{ms / 1000, ms % 1000 * 1'000'000};
  nanosleep(&time, nullptr);
}

// Resident memory as /proc/self/statm has it.
inline size_t resident_mib() {
  char text[256];
  REQUIRE(read_file("/proc/self/statm", text, sizeof text) > 0);
  const char *second = strchr(text, ' ');
  REQUIRE(second != nullptr);
  return strtoul(second, nullptr, 10) * kPage / kMiB;
}

inline int tasks() { return static_cast<int>(proc_kib("/proc/self/status", "\nThreads:")); }

// The id of the scavenger's thread, 0 when there is none. opendir allocates, a little.
inline int scavenger_id() {
  DIR *directory = opendir("/proc/self/task");
  if (directory == nullptr) return 0;
  int found = 0;
  while (const dirent *entry = readdir(directory)) {
    char path[300], name[64];
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
    if (read_file(path, name, sizeof name) > 0 && strcmp(name, "warren-scavenge\n") == 0) found = atoi(entry->d_name);
  }
  closedir(directory);
  return found;
}

template <class Condition>
void wait_until(const char *what, Condition holds) {
  const double end = seconds() + kDeadlineSeconds;
  while (!holds()) {
    if (seconds() > end) BROKEN("in vain: %s (%zu MiB resident, %d threads)", what, resident_mib(), tasks());
    pause_ms(10);
  }
}

// The library's own functions, found as a program under the preload finds them.
template <class Function>
Function *library_function(const char *name) {
  auto *found = reinterpret_cast<Function *>(dlsym(RTLD_DEFAULT, name));
  if (found == nullptr) BROKEN("no %s", name);
  return found;
}

inline wr_mem_stats statistics() {
  wr_mem_stats now;
  library_function<void(wr_mem_stats *)>("wr_read_mem_stats")(&now);
  return now;
}

inline void configure(const char *key, const char *value) {
  REQUIRE(library_function<int(const char *, const char *)>("wr_conf_set")(key, value) == 0);
}

// Blocks of one size, chained through their first words; some stay, with a pattern.
class Hoard {
 public:
  // `total` bytes in blocks of `size`, each page of them written to.
  Hoard(size_t size, size_t total) : size_(size), count_(total / size) {
    for (size_t i = 0; i < count_; ++i) {
      auto *block = static_cast<char *>(v_malloc(size));
      REQUIRE(block != nullptr);
      for (size_t at = 0; at < size; at += kPage) block[at] = 1;
      memcpy(block, &chain_, sizeof chain_);
      chain_ = block;
    }
  }

  // Frees all but some, evenly spread: one in a thousand, and no more than kMostKept.
  void free_most() {
    const size_t step = count_ / kMostKept > 1000 ? count_ / kMostKept : 1000;
    size_t number = 0;
    for (void *block = chain_; block != nullptr; ++number) {
      void *next;
      memcpy(&next, block, sizeof next);
      if (number % step == 0 && kept_count_ < kMostKept) {
        fill_pattern(block, size_, number);
        kept_[kept_count_++] = {block, number};
      } else {
        v_free(block);
      }
      block = next;
    }
    chain_ = nullptr;
    REQUIRE(kept_count_ != 0);
  }

  void free_all() {
    for (void *block = chain_; block != nullptr;) {
      void *next;
      memcpy(&next, block, sizeof next);
      v_free(block);
      block = next;
    }
    chain_ = nullptr;
  }

  void check_kept() const {
    for (size_t i = 0; i < kept_count_; ++i) {
      if (holds_pattern(kept_[i].block, size_, kept_[i].number)) continue;
      BROKEN("block %zu of %zu bytes has lost its pattern", i, size_);
    }
  }

  void free_kept() {
    check_kept();
    while (kept_count_ != 0) v_free(kept_[--kept_count_].block);
  }

 private:
  static constexpr size_t kMostKept = 200;
  struct Kept {
    void *block;
    uint64_t number;
  };
  size_t size_, count_;
  void *chain_ = nullptr;
  Kept kept_[kMostKept] = {};
  size_t kept_count_ = 0;
};

// Blocks of all kinds over pages that went back and came again: zero where calloc says so, and their own.
inline void use_heap(size_t total) {
  static const size_t kSizes[] = {8, 16, 100, 1000, 5000, 32768, 100000, 1000000};
  constexpr size_t kHeld = 64;
  struct {
    void *block;
    size_t size;
    uint64_t seed;
  } held[kHeld] = {};
  size_t bytes = 0;
  for (uint64_t i = 0; bytes < total; ++i) {
    auto &slot = held[mix(i) % kHeld];
    if (slot.block != nullptr) {
      if (!holds_pattern(slot.block, slot.size, slot.seed)) BROKEN("%zu bytes were written to by another", slot.size);
      v_free(slot.block);
    }
    slot = {nullptr, kSizes[mix(i + 7) % (sizeof kSizes / sizeof *kSizes)], i};
    slot.block = v_calloc(1, slot.size);
    REQUIRE(slot.block != nullptr);
    if (!all_zero(slot.block, slot.size)) BROKEN("calloc(1, %zu) is not zero", slot.size);
    fill_pattern(slot.block, slot.size, slot.seed);
    bytes += slot.size;
  }
  for (auto &slot : held) v_free(slot.block);
}

inline void wait_for_child(pid_t child) {
  int status = -1;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) BROKEN("the child ended with status 0x%x", static_cast<unsigned>(status));
}

// main of a victim: plays the scenario named by argv[1]. "held" is its last line.
template <size_t kCount>
int play(int argc, char **argv, const Scenario (&scenarios)[kCount]) {
  alarm(kWatchdogSeconds);
  require_library();
  for (const Scenario &scenario : scenarios) {
    if (argc < 2 || strcmp(argv[1], scenario.name) != 0) continue;
    scenario.run(argc, argv);
    SAY("held\n");
    return 0;
  }
  say_to(2, "victim: no such scenario\n");
  return kWrongSetup;
}

[[noreturn]] inline void not_here(const char *why) {
  SAY("not here: %s\n", why);
  _exit(kSkipped);
}

}  // namespace observe
