// Runs a function that may wait, from a place that may not: on a fiber, or where no run is under way on a thread of
// its own. Callers: timer_channel.cc, cancel_tree.cc. Invariant: fn(argument) is called once.
#pragma once

#include "allocator/base/os_calls.h"

#include <warren/scheduler_core.h>

#include <cerrno>
#include <cstdlib>
#include <pthread.h>

namespace warren::scheduler {

inline void start_task(void (*fn)(void *argument), void *argument) {
  if (wr_go(fn, argument, nullptr) == 0) return;
  struct Task {
    void (*fn)(void *argument);
    void *argument;
  };
  auto *task = static_cast<Task *>(malloc(sizeof(Task)));
  if (task != nullptr) {
    *task = {fn, argument};
    pthread_t thread;
    const int error = pthread_create(
        &thread, nullptr,
        [](void *given) -> void * {
          const Task mine = *static_cast<Task *>(given);
          free(given);
          os_calls::name_thread(program_invocation_short_name);  // not that of the timers' thread
          mine.fn(mine.argument);
          return nullptr;
        },
        task);
    if (error == 0) {
      pthread_detach(thread);
      return;
    }
  }
  wr_fatal_error("neither a fiber nor a thread to be had for a function that is due");
}

}  // namespace warren::scheduler
