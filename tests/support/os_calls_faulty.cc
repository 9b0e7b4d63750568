// The table of system calls with faults: linked around the real one (ld --wrap) into libwarren_faulty.so.
// Run by tests/faults. WARREN_FAULT="CALL:N:MODE[:ERRNO]" fails calls:
//   CALL   mmap, munmap, madvise, mremap, mprotect,  N     1-based number of the first call that fails
//          userfaultfd, open, ioctl, pwrite, any
//   MODE   once; from (that one and all later); every (each N-th)
//   ERRNO  ENOMEM (default), EAGAIN, EINVAL, EPERM
// WARREN_FAULT_COUNT=FD writes the number of calls made to descriptor FD at exit.
// Invariant: without WARREN_FAULT every call goes through.
#include "allocator/base/os_calls.h"
#include "allocator/base/log.h"
#include "allocator/base/os_process.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace {

enum Call : unsigned { kMmap, kMunmap, kMadvise, kMremap, kMprotect, kUserfaultfd, kOpen, kIoctl, kWriteAt, kCalls, kAny = kCalls };
constexpr const char *kNames[] = {"mmap", "munmap", "madvise", "mremap", "mprotect", "userfaultfd", "open", "ioctl", "pwrite", "any"};
enum class Mode { kNone, kOnce, kFrom, kEvery };

struct Fault {
  unsigned call = kAny;
  unsigned long number = 0;
  Mode mode = Mode::kNone;
  long error = ENOMEM;
};

std::atomic<unsigned long> made[kCalls + 1];

bool take_word(const char *&text, const char *word) {
  const size_t length = strlen(word);
  if (strncmp(text, word, length) != 0 || (text[length] != ':' && text[length] != '\0')) return false;
  text += length;
  if (*text == ':') ++text;
  return true;
}

[[noreturn]] void bad_spec(const char *text) {
  warren::LogLine line;
  line << "os_calls_faulty: cannot read WARREN_FAULT at: " << text;
  line.write_to(2);
  _Exit(99);
}

Fault read_spec() {
  Fault fault;
  const char *text = warren::os_process::environment("WARREN_FAULT");
  if (text == nullptr) return fault;
  fault.call = 0;
  while (fault.call <= kAny && !take_word(text, kNames[fault.call])) ++fault.call;
  if (fault.call > kAny) bad_spec(text);
  for (; *text >= '0' && *text <= '9'; ++text) fault.number = fault.number * 10 + static_cast<unsigned long>(*text - '0');
  if (fault.number == 0 || *text++ != ':') bad_spec(text);
  if (take_word(text, "once")) {
    fault.mode = Mode::kOnce;
  } else if (take_word(text, "from")) {
    fault.mode = Mode::kFrom;
  } else if (take_word(text, "every")) {
    fault.mode = Mode::kEvery;
  } else {
    bad_spec(text);
  }
  if (take_word(text, "EAGAIN")) fault.error = EAGAIN;
  else if (take_word(text, "EINVAL")) fault.error = EINVAL;
  else if (take_word(text, "EPERM")) fault.error = EPERM;
  else if (*text != '\0' && !take_word(text, "ENOMEM")) bad_spec(text);
  return fault;
}

bool hits(const Fault &fault, unsigned long number) {
  switch (fault.mode) {
    case Mode::kNone: return false;
    case Mode::kOnce: return number == fault.number;
    case Mode::kFrom: return number >= fault.number;
    case Mode::kEvery: return number % fault.number == 0;
  }
  return false;
}

// 0: the call may be made; else the negative errno it is to return.
long fault_of(Call call) {
  static const Fault fault = read_spec();
  const unsigned long of_call = made[call].fetch_add(1) + 1;
  const unsigned long of_any = made[kAny].fetch_add(1) + 1;
  if (fault.call == kAny) return hits(fault, of_any) ? -fault.error : 0;
  return fault.call == call && hits(fault, of_call) ? -fault.error : 0;
}

__attribute__((destructor)) void write_counts() {
  const char *text = warren::os_process::environment("WARREN_FAULT_COUNT");
  if (text == nullptr) return;
  warren::LogLine line;
  line << "calls";
  for (unsigned call = 0; call < kCalls; ++call) line << " " << kNames[call] << "=" << uint64_t{made[call].load()};
  line.write_to(atoi(text));
}

}  // namespace

// The names ld --wrap makes of warren::os_calls' functions.
#define REAL(symbol) __real_##symbol
#define WRAP(symbol) __wrap_##symbol

extern "C" {
long REAL(_ZN6warren8os_calls4mmapEPvmii)(void *, size_t, int, int);
long REAL(_ZN6warren8os_calls6munmapEPvm)(void *, size_t);
long REAL(_ZN6warren8os_calls7madviseEPvmi)(void *, size_t, int);
long REAL(_ZN6warren8os_calls6mremapEPvmmiS1_)(void *, size_t, size_t, int, void *);
long REAL(_ZN6warren8os_calls8mprotectEPvmi)(void *, size_t, int);
long REAL(_ZN6warren8os_calls11userfaultfdEi)(int);
long REAL(_ZN6warren8os_calls4openEPKci)(const char *, int);
long REAL(_ZN6warren8os_calls5ioctlEimPv)(int, unsigned long, void *);
long REAL(_ZN6warren8os_calls8write_atEiPKvmm)(int, const void *, size_t, uint64_t);

long WRAP(_ZN6warren8os_calls4mmapEPvmii)(void *address, size_t bytes, int protection, int flags) {
  const long fault = fault_of(kMmap);
  return fault != 0 ? fault : REAL(_ZN6warren8os_calls4mmapEPvmii)(address, bytes, protection, flags);
}

long WRAP(_ZN6warren8os_calls6munmapEPvm)(void *address, size_t bytes) {
  const long fault = fault_of(kMunmap);
  return fault != 0 ? fault : REAL(_ZN6warren8os_calls6munmapEPvm)(address, bytes);
}

long WRAP(_ZN6warren8os_calls7madviseEPvmi)(void *address, size_t bytes, int advice) {
  const long fault = fault_of(kMadvise);
  return fault != 0 ? fault : REAL(_ZN6warren8os_calls7madviseEPvmi)(address, bytes, advice);
}

long WRAP(_ZN6warren8os_calls6mremapEPvmmiS1_)(void *from, size_t old_bytes, size_t new_bytes, int flags, void *to) {
  const long fault = fault_of(kMremap);
  return fault != 0 ? fault : REAL(_ZN6warren8os_calls6mremapEPvmmiS1_)(from, old_bytes, new_bytes, flags, to);
}

long WRAP(_ZN6warren8os_calls8mprotectEPvmi)(void *address, size_t bytes, int protection) {
  const long fault = fault_of(kMprotect);
  return fault != 0 ? fault : REAL(_ZN6warren8os_calls8mprotectEPvmi)(address, bytes, protection);
}

long WRAP(_ZN6warren8os_calls11userfaultfdEi)(int flags) {
  const long fault = fault_of(kUserfaultfd);
  return fault != 0 ? fault : REAL(_ZN6warren8os_calls11userfaultfdEi)(flags);
}

long WRAP(_ZN6warren8os_calls4openEPKci)(const char *path, int flags) {
  const long fault = fault_of(kOpen);
  return fault != 0 ? fault : REAL(_ZN6warren8os_calls4openEPKci)(path, flags);
}

long WRAP(_ZN6warren8os_calls5ioctlEimPv)(int fd, unsigned long request, void *argument) {
  const long fault = fault_of(kIoctl);
  return fault != 0 ? fault : REAL(_ZN6warren8os_calls5ioctlEimPv)(fd, request, argument);
}

long WRAP(_ZN6warren8os_calls8write_atEiPKvmm)(int fd, const void *data, size_t bytes, uint64_t offset) {
  const long fault = fault_of(kWriteAt);
  return fault != 0 ? fault : REAL(_ZN6warren8os_calls8write_atEiPKvmm)(fd, data, bytes, offset);
}
}
