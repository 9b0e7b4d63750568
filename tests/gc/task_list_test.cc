// The kernel's list of threads while threads end: reading it stops short at one that has just gone, and those behind are left out.
// Here the list is cut at a chosen thread, which ends at that moment. Invariant: the world stands still for all that.
#include "gc/task_list.h"

#include "allocator/base/os_calls.h"
#include "gc/world.h"
#include "tests/allocator/own_process.h"

#include <atomic>
#include <cstring>
#include <sched.h>
#include <string>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace warren {
namespace {

std::atomic<int> doomed{0};      // the thread whose entry is the last that is read
std::atomic<bool> may_end{false};
std::atomic<bool> cut{false};    // the next read finds nothing more

}  // namespace
}  // namespace warren

// os_calls::directory_entries, as the linker's --wrap names the two.
extern "C" long __real__ZN6warren8os_calls17directory_entriesEiPvm(int fd, void *entries, size_t bytes);
extern "C" long __wrap__ZN6warren8os_calls17directory_entriesEiPvm(int fd, void *entries, size_t bytes) {
  using namespace warren;
  if (cut.exchange(false)) return 0;
  const long length = __real__ZN6warren8os_calls17directory_entriesEiPvm(fd, entries, bytes);
  const int last = doomed;
  if (last == 0) return length;
  for (long at = 0; at < length;) {
    const auto *entry = reinterpret_cast<const os_calls::DirectoryEntry *>(static_cast<const char *>(entries) + at);
    at += entry->length;
    if (std::to_string(last) != entry->name) continue;
    doomed = 0;
    may_end = true;
    while (syscall(SYS_tgkill, getpid(), last, 0) == 0) sched_yield();
    cut = true;
    return at;
  }
  return length;
}

namespace warren::gc {
namespace {

void live_until_told(std::atomic<int> &id) {
  id = gettid();
  while (!may_end) sched_yield();
}

int await(const std::atomic<int> &id) {
  while (id == 0) sched_yield();
  return id;
}

TEST(TaskList, KnowsThatItWasCutShort) {
  in_own_process([] {
    std::atomic<int> id{0};
    std::thread first([&] { live_until_told(id); });
    std::atomic<int> more{1};
    await(id);
    std::thread second([&] {
      while (more != 0) sched_yield();
    });
    TaskList tasks;
    doomed = id.load();
    int seen = 0;
    EXPECT_TRUE(tasks.walk([&](uint32_t) { ++seen; }));
    EXPECT_EQ(seen, 2);
    EXPECT_FALSE(tasks.complete());
    EXPECT_TRUE(tasks.walk([](uint32_t) {}));
    EXPECT_TRUE(tasks.complete());
    more = 0;
    first.join();
    second.join();
  });
}

TEST(TaskList, WhoStopsTheWorldStandsBehindOneThatEnds) {
  in_own_process([] {
    ASSERT_TRUE(world::set_up());
    std::atomic<int> id{0};
    std::thread first([&] { live_until_told(id); });
    await(id);
    std::thread([&] {
      doomed = id.load();
      ASSERT_TRUE(world::stop());
      world::start();
    }).join();
    first.join();
    EXPECT_TRUE(may_end);
  });
}

TEST(TaskList, AThreadStandsBehindOneOfTheCollectorsThatEnds) {
  in_own_process([] {
    ASSERT_TRUE(world::set_up());
    static std::atomic<int> id{0};
    ASSERT_TRUE(world::start_collector_thread([](void *) { live_until_told(id); }, nullptr, "ends"));
    await(id);
    std::atomic<uint64_t> work{0};
    std::atomic<bool> enough{false};
    std::thread worker([&] {
      while (!enough) work.fetch_add(1, std::memory_order_relaxed);
    });
    while (work == 0) sched_yield();
    ASSERT_TRUE(world::stop());  // the first stop asks twice
    world::start();
    doomed = id.load();
    ASSERT_TRUE(world::stop());
    const uint64_t before = work;
    for (int i = 0; i < 100; ++i) sched_yield();
    EXPECT_EQ(work, before);
    world::start();
    EXPECT_TRUE(may_end);
    enough = true;
    worker.join();
  });
}

}  // namespace
}  // namespace warren::gc
