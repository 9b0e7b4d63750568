// Runs one case of the contract in one mode and prints what it observed. Started by contract_test.cc as
//   victim NAME cold|warm main|thread      or: victim --list
// Exit status 0: held; 1: a line starting with FAIL says what did not; 2: bad usage.
// Built twice: without a C++ runtime (so that a cold case's first call is the process's first), and with
// one for the cases of C++. Invariant: allocates nothing itself before the case runs cold.
#include "report.h"

#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <unistd.h>

namespace contract {
namespace {

#ifdef CONTRACT_CXX
const Case *const kTables[] = {cxx_cases};
#else
const Case *const kTables[] = {size_cases, alignment_cases, other_cases};
#endif

Report report;

void warm_up() {
  void *blocks[500] = {};
  unsigned state = 12345;
  for (int i = 0; i < 20000; ++i) {
    state = state * 1664525 + 1013904223;
    void *&block = blocks[(state >> 8) % 500];
    free(block);
    const size_t size = (state >> 12) % 97 == 0 ? (state >> 4) % 3000000 : (state >> 10) % 4000;
    block = (state & 64) != 0 ? calloc(1, size) : malloc(size);
    if (block != nullptr && size != 0) memset(block, 0xc3, size);
  }
  for (void *block : blocks) free(block);
}

void *run_case(void *argument) {
  static_cast<const Case *>(argument)->run(report);
  return nullptr;
}

void put(const char *text, size_t length) {
  while (length != 0) {
    const ssize_t written = write(1, text, length);
    if (written <= 0) _exit(3);
    text += written;
    length -= static_cast<size_t>(written);
  }
}

int list() {
  for (const Case *table : kTables) {
    for (const Case *each = table; each->run != nullptr; ++each) {
      put(each->name, strlen(each->name));
      put("\n", 1);
    }
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
      put(report.text(), report.length());
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
