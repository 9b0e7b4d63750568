// See mutation_calls.h.
#include "tests/gc/mutation_calls.h"

#include "allocator/base/config.h"
#include "allocator/base/os_calls.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <string>
#include <unistd.h>

namespace warren::gc {

using mutation::Range;

Faults faults;
PlayedSoftDirty played;

namespace {

constexpr size_t kMostCopied = size_t{128} << 20;  // of one mapping

long fault() {
  const unsigned long number = ++faults.calls;
  const bool hit = faults.failing != 0 && (number == faults.failing || (faults.all_after && number > faults.failing));
  return hit ? -faults.error : 0;
}

void read(uintptr_t from, void *to, size_t bytes) {
  const int memory = ::open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
  EXPECT_GT(pread(memory, to, bytes, static_cast<off_t>(from)), 0);
  ::close(memory);
}

}  // namespace

void PlayedSoftDirty::clear() {
  copies_.clear();
  std::ifstream maps("/proc/self/maps");
  std::vector<Range> found;
  for (std::string line; std::getline(maps, line);) {
    Range range{};
    char mode[5];
    unsigned long inode;
    if (sscanf(line.c_str(), "%lx-%lx %4s %*s %*s %lu", &range.start, &range.end, mode, &inode) != 4) continue;
    if (mode[1] == 'w' && inode == 0 && range.end - range.start < kMostCopied) found.push_back(range);
  }
  for (const Range &range : found) {
    std::vector<char> &copy = copies_[range.start];
    copy.resize(range.end - range.start);
    read(range.start, copy.data(), copy.size());
  }
}

bool PlayedSoftDirty::dirty(uintptr_t page) {
  auto after = copies_.upper_bound(page);
  if (after == copies_.begin()) return true;
  const auto &[start, copy] = *--after;
  if (page + kOsPageSize > start + copy.size()) return true;
  char now[kOsPageSize];
  read(page, now, kOsPageSize);
  return memcmp(now, copy.data() + (page - start), kOsPageSize) != 0;
}

}  // namespace warren::gc

// The names ld --wrap makes of warren::os_calls' functions.
#define REAL(symbol) __real_##symbol
#define WRAP(symbol) __wrap_##symbol

using warren::gc::fault;
using warren::gc::faults;
using warren::gc::played;

extern "C" {
long REAL(_ZN6warren8os_calls11userfaultfdEi)(int);
long REAL(_ZN6warren8os_calls14duplicate_fromEii)(int, int);
long REAL(_ZN6warren8os_calls4openEPKci)(const char *, int);
long REAL(_ZN6warren8os_calls5ioctlEimPv)(int, unsigned long, void *);
long REAL(_ZN6warren8os_calls5writeEiPKvm)(int, const void *, size_t);
long REAL(_ZN6warren8os_calls7read_atEiPvmm)(int, void *, size_t, uint64_t);
long REAL(_ZN6warren8os_calls8mprotectEPvmi)(void *, size_t, int);

long WRAP(_ZN6warren8os_calls11userfaultfdEi)(int flags) {
  const long error = fault();
  return error != 0 ? error : REAL(_ZN6warren8os_calls11userfaultfdEi)(flags);
}
long WRAP(_ZN6warren8os_calls14duplicate_fromEii)(int fd, int least) {
  const long error = fault();
  return error != 0 ? error : REAL(_ZN6warren8os_calls14duplicate_fromEii)(fd, least);
}
long WRAP(_ZN6warren8os_calls4openEPKci)(const char *path, int flags) {
  const long error = fault();
  return error != 0 ? error : REAL(_ZN6warren8os_calls4openEPKci)(path, flags);
}
long WRAP(_ZN6warren8os_calls5ioctlEimPv)(int fd, unsigned long request, void *argument) {
  const long error = fault();
  return error != 0 ? error : REAL(_ZN6warren8os_calls5ioctlEimPv)(fd, request, argument);
}
long WRAP(_ZN6warren8os_calls5writeEiPKvm)(int fd, const void *data, size_t bytes) {
  if (fd <= STDERR_FILENO) return REAL(_ZN6warren8os_calls5writeEiPKvm)(fd, data, bytes);
  if (const long error = fault(); error != 0) return error;
  const long result = REAL(_ZN6warren8os_calls5writeEiPKvm)(fd, data, bytes);
  if (played.playing() && result == 1) played.clear();
  return result;
}
long WRAP(_ZN6warren8os_calls7read_atEiPvmm)(int fd, void *data, size_t bytes, uint64_t offset) {
  if (const long error = fault(); error != 0) return error;
  const long result = REAL(_ZN6warren8os_calls7read_atEiPvmm)(fd, data, bytes, offset);
  if (!played.playing() || result <= 0) return result;
  auto *entries = static_cast<uint64_t *>(data);
  constexpr uint64_t kBit = uint64_t{1} << 55;
  for (size_t i = 0; i < static_cast<size_t>(result) / 8 && offset != 0; ++i) {
    const bool dirty = played.dirty((offset / 8 + i) * warren::kOsPageSize);
    entries[i] = dirty ? entries[i] | kBit : entries[i] & ~kBit;
  }
  return result;
}
bool WRAP(_ZN6warren8os_calls8filteredEv)() { return faults.sandboxed; }
long WRAP(_ZN6warren8os_calls8mprotectEPvmi)(void *address, size_t bytes, int protection) {
  if (const long error = fault(); error != 0) return error;
  if (bytes < faults.least_protected) return -ENOMEM;
  const long result = REAL(_ZN6warren8os_calls8mprotectEPvmi)(address, bytes, protection);
  if (faults.slow_protection) warren::os_calls::sleep(20'000);
  return result;
}
}
