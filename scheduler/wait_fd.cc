// wr_wait_fd: waiting for any descriptor, without a poll descriptor kept for it.
// Each wait registers a descriptor of its own with the network's poll, a duplicate where the number is taken (somebody
// else waits for the same one, or a connection has it). So nothing outlives the wait, and a number that is closed and
// used again is a new one. wr_close_fd finds who waits for a number in a table.
// Invariant: a wait is in the table exactly while it is under way.
#include "allocator/base/mutex.h"
#include "include/warren/scheduler_core.h"
#include "scheduler/clock.h"
#include "scheduler/poll_descriptor.h"
#include "scheduler/state.h"

#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

using namespace warren::scheduler;

namespace {

struct Wait {
  int fd;
  int duplicate;  // of it, or -1
  wr_poll *poll;
  const G *g;
  Wait *next;
  Wait **link;
};

constexpr unsigned kBuckets = 256;
warren::Mutex table_lock{warren::LockRank::kPollTable};
Wait *table[kBuckets];

void enter(Wait *wait) {
  warren::MutexLock hold(table_lock);
  Wait *&first = table[static_cast<unsigned>(wait->fd) % kBuckets];
  wait->next = first;
  wait->link = &first;
  if (first != nullptr) first->link = &wait->next;
  first = wait;
}

void take_out(Wait *wait) REQUIRES(table_lock) {
  *wait->link = wait->next;
  if (wait->next != nullptr) wait->next->link = wait->link;
}

void leave(Wait *wait) {
  warren::MutexLock hold(table_lock);
  take_out(wait);
}

void end(Wait *wait) {
  wr_poll_close(wait->poll);
  if (wait->duplicate >= 0) close(wait->duplicate);
}

// revents, or 0 when nothing is ready.
int look(int fd, short events) {
  pollfd one{fd, events, 0};
  const int count = poll(&one, 1, 0);
  if (count < 0) return errno == EINTR ? 0 : -errno;
  if ((one.revents & POLLNVAL) != 0) return -EBADF;
  return one.revents;
}

int open_poll(int fd, short events, wr_poll **out, int *duplicate) {
  int error = open_poll_for(fd, events, out);
  if (error != -EEXIST) return error;
  *duplicate = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (*duplicate < 0) return -errno;
  error = open_poll_for(*duplicate, events, out);
  if (error != 0) close(*duplicate);
  return error;
}

int wait_for(Wait *wait, short events, uint64_t deadline) {
  wr_poll_set_deadline(wait->poll, WR_POLL_READ, deadline);
  for (;;) {
    if (const int ready = look(wait->fd, events)) return ready;
    if (const int error = wr_poll_wait(wait->poll, WR_POLL_READ)) return error;
  }
}

}  // namespace

namespace warren::scheduler {

// Those that run still are not meant, as in net.cc's take_over(): they may come to their wait's end.
void forget_abandoned_waits() {
  Wait *forgotten = nullptr;
  {
    MutexLock hold(table_lock);
    for (Wait *wait : table) {
      while (wait != nullptr) {
        Wait *next = wait->next;
        const GStatus status = wait->g->status.load(std::memory_order_acquire);  // pairs with set_status()
        if (is_abandoned(wait->g) && (status == GStatus::kWaiting || status == GStatus::kRunnable)) {
          take_out(wait);
          wait->next = forgotten;
          forgotten = wait;
        }
        wait = next;
      }
    }
  }
  for (; forgotten != nullptr; forgotten = forgotten->next) {
    wr_poll_cancel(forgotten->poll);
    end(forgotten);
  }
}

void reset_waits_in_child() {
  table_lock.take_from_the_gone();
  for (Wait *&first : table) first = nullptr;
}

}  // namespace warren::scheduler

extern "C" {

int wr_wait_fd(int fd, short events, uint64_t deadline) {
  if (const int ready = look(fd, events)) return ready;
  if (deadline <= now()) return -ETIMEDOUT;
  Wait wait{fd, -1, nullptr, current(), nullptr, nullptr};
  const int error = open_poll(fd, events, &wait.poll, &wait.duplicate);
  if (error == -EPERM) return events;  // a file: always ready
  if (error != 0) return error;
  enter(&wait);
  const int result = wait_for(&wait, events, deadline);
  leave(&wait);
  end(&wait);
  return result;
}

int wr_close_fd(int fd) {
  {
    warren::MutexLock hold(table_lock);
    for (Wait *wait = table[static_cast<unsigned>(fd) % kBuckets]; wait != nullptr; wait = wait->next) {
      if (wait->fd == fd) detach_poll(wait->poll);
    }
  }
  return close(fd) == 0 ? 0 : -errno;
}

}  // extern "C"
