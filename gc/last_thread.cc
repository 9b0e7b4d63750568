// See last_thread.h. A thread looks at the kernel's list now and then. The list is in the order in which threads were made, so whoever
// makes one and ends is seen, or the one it made; what the kernel leaves out of the list, its count shows (task_list.h).
#include "gc/last_thread.h"

#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_process.h"
#include "allocator/base/os_thread.h"
#include "allocator/base/own_threads.h"
#include "gc/stop_signal.h"
#include "gc/task_list.h"

#include <atomic>
#include <cstdlib>
#include <pthread.h>

namespace warren::gc::last_thread {
namespace {

// Between two looks. Shorter: a program whose threads work on after its main thread has more of its processor taken. Longer: it ends
// later.
constexpr uint64_t kFirstLook = 20'000'000, kLastLook = 100'000'000;

// Looks in a row that find nobody. One would do.
constexpr int kLooks = 2;

uint64_t mask_of_starter = 0;  // exit's handlers run with it. Written before the thread is made

bool nobody_is_left() {
  const uint64_t process = os_process::id();
  const uint32_t self = os_calls::thread_id();
  TaskList tasks;
  if (!tasks.is_open()) return false;
  bool main_listed = false, self_listed = false, others = false;
  const bool listed = tasks.walk([&](uint32_t thread) {
    if (thread == process) {
      main_listed = true;
    } else if (thread == self) {
      self_listed = true;
    } else if (thread != os_thread::id() && !OwnThreads::is_resting(process, thread)) {
      others = true;
    }
  });
  // Not listed: the list is of another name space of processes.
  return listed && tasks.complete() && main_listed && self_listed && !others && is_zombie(static_cast<uint32_t>(process));
}

// A thread of the program's, since exit's handlers are: it may be stopped, and has roots.
void *watch(void *) {
  os_calls::name_thread("warren-last");
  int looks = 0;
  for (uint64_t pause = kFirstLook; looks < kLooks;) {
    os_calls::sleep(pause);
    looks = nobody_is_left() ? looks + 1 : 0;
    if (looks == 0 && pause < kLastLook) pause += kFirstLook;
  }
  os_calls::set_signal_mask(mask_of_starter);
  exit(0);
}

bool start() {
  if (OwnThreads::filtered_since()) return false;
  // Those by which the collector may stop threads are open, too, which it may not have used yet.
  uint64_t open = stop_signal::kNeverBlocked;
  for (int signal = stop_signal::kLowest; signal <= stop_signal::kHighest; ++signal) open |= stop_signal::bit_of(signal);
  const uint64_t before = os_calls::set_signal_mask(~open);
  mask_of_starter = before;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, watch, nullptr);
  pthread_attr_destroy(&attributes);
  os_calls::set_signal_mask(before);
  return error == 0;
}

}  // namespace

WARREN_AT_START void install() { OwnThreads::watch.store(start, std::memory_order_relaxed); }

}  // namespace warren::gc::last_thread
