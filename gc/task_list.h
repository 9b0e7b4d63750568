// The threads of a process as the kernel lists them, in /proc/PROCESS/task. Callers: threads.cc, of this process;
// inspect/snapshot.cc, of the one it looks at. Invariant: nothing is allocated; one descriptor, which the program never
// sees for longer than a stop.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::gc {

inline constexpr uint64_t kThisProcess = 0;

// Walks in a row that find nobody new but are not complete(): after so many the kernel's count is not to be believed.
inline constexpr int kMostCutShort = 64;

class TaskList {
 public:
  explicit TaskList(uint64_t process = kThisProcess);
  ~TaskList();
  TaskList(const TaskList &) = delete;
  TaskList &operator=(const TaskList &) = delete;

  bool is_open() const { return fd_ >= 0; }

  // Threads at this moment, exactly; much cheaper than a walk.
  size_t count() const;

  // Calls visit(id) for each. False: the list cannot be read.
  template <class Visit>
  bool walk(Visit visit) {
    const size_t before = count();
    size_t seen = 0;
    rewind();
    for (uint32_t id; (id = next()) != 0; ++seen) visit(id);
    complete_ = seen == before && seen == count();
    return !failed_;
  }

  // Whether the last walk has seen every thread that was there all the while. The kernel ends the list at a thread that ends while
  // it is read, and continues it, where it did not fit the buffer, at a place that is counted.
  bool complete() const { return complete_; }

 private:
  void rewind();
  uint32_t next();  // 0 at the end

  int fd_;
  bool failed_ = false, complete_ = false;
  size_t used_ = 0, filled_ = 0;
  alignas(8) char buffer_[8192];
};

// What stands in the way of a thread's being stopped.
enum class TaskState : uint8_t {
  kAlive,
  kGone,    // ended, or past its last instruction of the program's
  kKernel,  // one of the kernel's own, as io_uring makes them
};
TaskState task_state(uint32_t id, uint64_t process = kThisProcess);

// Whether the kernel says for certain that the thread has ended, all but its entry in the list: the main thread, before the others.
bool is_zombie(uint32_t id);

// The signals that a thread blocks.
uint64_t blocked_signals(uint32_t id);

}  // namespace warren::gc
