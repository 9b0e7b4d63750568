// A membarrier that is refused although it was registered, as by a filter that the program has loaded since: without it nobody knows what
// another thread has stored, so nothing may be taken from it.
#include "fibers.h"

#include <thread>
#include <unistd.h>

namespace {

std::atomic<bool> refused{false};
std::atomic<int> refusals{0};

extern "C" bool fence_of_the_os() __asm__("__real__ZN6warren8os_calls17fence_all_threadsEv");
extern "C" bool fence_here() __asm__("__wrap__ZN6warren8os_calls17fence_all_threadsEv");
bool fence_here() {
  if (!refused) return fence_of_the_os();
  ++refusals;
  return false;
}

using namespace fibers;

TEST(RefusedFence, NothingIsTakenUntilOneIsNot) {
  run_on(1, [] {
    std::atomic<bool> other_ran{false};
    refused = true;
    std::thread watcher([&] {
      while (refusals < 3 && !other_ran) usleep(1000);
      EXPECT_FALSE(other_ran);
      refused = false;
    });
    go([&] { other_ran = true; });
    while (!other_ran) {
    }
    watcher.join();
  });
}

}  // namespace
