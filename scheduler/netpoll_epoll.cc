// See netpoll.h. One epoll descriptor, and an eventfd in it for interrupt().
#include "scheduler/netpoll.h"

#include "allocator/base/address.h"
#include "scheduler/fork.h"
#include "scheduler/poll_descriptor.h"

#include <cerrno>
#include <climits>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace warren::scheduler::netpoll {

uint32_t generation = 0;
constinit Waiters waiters;

namespace {

int epoll = -1;
int waker = -1;
std::atomic<uint32_t> waking{0};  // 1: the eventfd is readable or about to be; saves writes

// A descriptor's tag travels in the upper bits of its address.
constexpr unsigned kTagShift = 48;
static_assert(POLLIN == EPOLLIN && POLLPRI == EPOLLPRI && POLLOUT == EPOLLOUT);

uint64_t pack(const void *poll, uint32_t tag) { return address_of(poll) | uint64_t{tag} << kTagShift; }

int milliseconds(int64_t wait) {
  if (wait < 0) return -1;
  const int64_t rounded = (wait + 999'999) / 1'000'000;  // up: waking early would only mean waiting again
  return rounded < INT_MAX ? static_cast<int>(rounded) : INT_MAX;
}

int wait_for_events(epoll_event *events, int most, int64_t wait) {
  if (wait > 0 && wait < 100'000'000) {
    // epoll_pwait2 waits exactly; Linux 5.11.
    const timespec time{0, static_cast<long>(wait)};
    const int count = epoll_pwait2(epoll, events, most, &time, nullptr);
    if (count >= 0 || errno != ENOSYS) return count;
  }
  return epoll_wait(epoll, events, most, milliseconds(wait));
}

}  // namespace

bool set_up() {
  if (epoll >= 0) return true;
  fork_handlers::install();
  epoll = epoll_create1(EPOLL_CLOEXEC);
  waker = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  return epoll >= 0 && waker >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, waker, &event) == 0;
}

void reset_in_child() {
  if (epoll >= 0) ::close(epoll);
  if (waker >= 0) ::close(waker);
  epoll = waker = -1;
  ++generation;
  waking.store(0, std::memory_order_relaxed);
  waiters.reset_in_child();
}

int open(int fd, short events, void *poll, uint32_t tag) {
  epoll_event event{};
  event.events = (static_cast<uint32_t>(events) & 0xffff) | static_cast<uint32_t>(EPOLLET);  // poll's bits are epoll's
  event.data.u64 = pack(poll, tag);
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

int close(int fd) {
  epoll_event event{};
  return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event) == 0 ? 0 : -errno;
}

Batch<G> poll(int64_t wait) {
  constexpr int kMost = 128;
  epoll_event events[kMost];
  Batch<G> batch;
  const int count = wait_for_events(events, kMost, wait);
  for (int i = 0; i < count; ++i) {
    const uint64_t data = events[i].data.u64;
    if (data == 0) {
      if (wait == 0) continue;  // left for who sleeps
      uint64_t value;
      [[maybe_unused]] const ssize_t ignored = read(waker, &value, sizeof value);
      waking.store(0, std::memory_order_seq_cst);
      continue;
    }
    const uint32_t happened = events[i].events;
    unsigned directions = 0;
    if ((happened & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) directions |= WR_POLL_READ;
    if ((happened & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) directions |= WR_POLL_WRITE;
    if ((happened & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) directions |= kPollMark;
    constexpr uint64_t kAddress = (uint64_t{1} << kTagShift) - 1;
    poll_happened(at_address<wr_poll>(data & kAddress), static_cast<uint32_t>(data >> kTagShift), directions, batch);
  }
  return batch;
}

void interrupt() {
  if (waking.exchange(1, std::memory_order_seq_cst) != 0) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t ignored = write(waker, &one, sizeof one);
}

}  // namespace warren::scheduler::netpoll
