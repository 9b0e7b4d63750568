// Runs one case of the contract in one mode and prints what it observed. Started by contract_test.cc as
//   victim NAME cold|warm main|thread      or: victim --list
// Exit status 0: held; 1: a line starting with FAIL says what did not; 2: bad usage.
// Environment: WARREN_LIB, the library whose malloc this must be; WARREN_CONTROL, any malloc will do.
// Built twice: without a C++ runtime (so that a cold case's first call is the process's first, but for the
// loader's own when it makes a thread), and with one for the cases of C++.
// Invariant: allocates nothing itself before the case runs cold.
#include "family.h"
#include "report.h"

#include <cstring>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

namespace contract {
namespace {

#ifdef CONTRACT_CXX
const Case *const kTables[] = {cxx_cases};
#else
const Case *const kTables[] = {size_cases, realloc_cases, alignment_cases, other_cases, libc_cases, first_call_cases};
#endif

Report report;

// Some thousand mixed calls that leave lists, caches and free pages of many kinds behind.
void warm_up() {
  void *blocks[500] = {};
  unsigned state = 12345;
  for (int i = 0; i < 6000; ++i) {
    state = state * 1664525 + 1013904223;
    void *&block = blocks[(state >> 8) % 500];
    const size_t size = (state >> 12) % 97 == 0 ? (state >> 4) % 300000 : (state >> 10) % 4000 + 1;
    switch ((state >> 5) % 5) {
      case 0: block = call::realloc(block, size); break;
      case 1: call::free(block); block = call::calloc(1, size); break;
      case 2: call::free(block); block = call::memalign(size_t{8} << (state >> 28), size); break;
      default: call::free(block); block = call::malloc(size); break;
    }
    if (block != nullptr) memset(block, 0xc3, size);
  }
  for (void *block : blocks) call::free(block);
}

void *run_case(void *argument) {
  static_cast<const Case *>(argument)->run(report);
  return nullptr;
}

// A path that cannot be preloaded is only a line on stderr: without this the case would pass on glibc.
void expect_library_under_test() {
  if (getenv("WARREN_CONTROL") != nullptr) return;
  const char *wanted = getenv("WARREN_LIB");
  Dl_info info = {};
  struct stat expected, found;
  const bool in_use = wanted != nullptr && dladdr(reinterpret_cast<void *>(call::malloc), &info) != 0 && stat(wanted, &expected) == 0 &&
                      stat(info.dli_fname, &found) == 0 && expected.st_dev == found.st_dev && expected.st_ino == found.st_ino;
  report.expect(in_use, "malloc is not WARREN_LIB's (%s) but from %s", wanted != nullptr ? wanted : "not set",
                info.dli_fname != nullptr ? info.dli_fname : "nowhere");
}

int list() {
  for (const Case *table : kTables) {
    for (const Case *each = table; each->run != nullptr; ++each) printf("%d %s\n", each->number, each->name);
  }
  return 0;
}

int run(const char *name, bool warm, bool on_thread) {
  for (const Case *table : kTables) {
    for (const Case *each = table; each->run != nullptr; ++each) {
      if (strcmp(each->name, name) != 0) continue;
      if (warm) warm_up();
      if (on_thread) {
        pthread_t thread;
        if (pthread_create(&thread, nullptr, run_case, const_cast<Case *>(each)) != 0) return 2;
        pthread_join(thread, nullptr);
      } else {
        each->run(report);
      }
      expect_library_under_test();
      return report.failures() == 0 ? 0 : 1;
    }
  }
  return 2;
}

}  // namespace
}  // namespace contract

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--list") == 0) return contract::list();
  if (argc != 4) return 2;
  alarm(120);
  return contract::run(argv[1], strcmp(argv[2], "warm") == 0, strcmp(argv[3], "thread") == 0);
}
