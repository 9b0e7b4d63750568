// Calls that wait and that the kernel never starts again once a signal has been handled: poll, select, epoll_wait, nanosleep and their
// like. A thread that the collector has stopped in one goes on waiting, for what is left of its time; a signal of the program's ends
// it with EINTR as ever. Until the collector is first used these are libc's functions. Callers: programs.
//
// Those that wait for descriptors, and pause, wait with a mask of their own: outside of the wait itself all signals are blocked, so that
// one that comes while the collector has stopped the thread ends the wait when it begins again. The others have no such mask. When
// one comes between the end of a stop and the new wait, these wait to their end: as when it comes just before the call.
//
// Not here: send and recv with a time limit (SO_RCVTIMEO), calls that wait for System V's messages and semaphores, what libc calls by
// itself, and a wait for descriptors and a time that began before the collector's first use. Invariant: nothing here allocates, but
// for the first look-up of a function of libc's.
#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"
#include "gc/cut_calls.h"
#include "gc/stop_signal.h"
#include "preload/entry_points.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <threads.h>
#include <unistd.h>

extern "C" {
[[noreturn]] void __chk_fail();

WARREN_EXPORT int __poll_chk(pollfd *fds, nfds_t count, int timeout, size_t bytes);
WARREN_EXPORT int __ppoll_chk(pollfd *fds, nfds_t count, const timespec *timeout, const sigset_t *mask, size_t bytes);
}

namespace {

namespace os_calls = warren::os_calls;
namespace stop_signal = warren::gc::stop_signal;
namespace cut_calls = warren::gc::cut_calls;

bool collector_sleeps() { return stop_signal::number() == 0; }

uint64_t &kernel_set(sigset_t &set) { return reinterpret_cast<uint64_t &>(set); }

// The function behind ours: libc's, or that of another library that stands before it. Relaxed: every thread finds the same.
template <class Function>
class Behind {
 public:
  explicit constexpr Behind(const char *name) : name_(name) {}
  template <class... Arguments>
  auto operator()(Arguments... arguments) {
    Function *function = found_.load(std::memory_order_relaxed);
    if (WARREN_UNLIKELY(function == nullptr)) {
      function = reinterpret_cast<Function *>(dlsym(RTLD_NEXT, name_));
      found_.store(function, std::memory_order_relaxed);
    }
    return function(arguments...);
  }

 private:
  const char *name_;
  std::atomic<Function *> found_{nullptr};
};

#pragma GCC diagnostic ignored "-Wignored-attributes"  // no function behind has them
#define WARREN_BEHIND(name) constinit Behind<decltype(name)> next_##name{#name}

WARREN_BEHIND(poll);
WARREN_BEHIND(ppoll);
WARREN_BEHIND(select);
WARREN_BEHIND(pselect);
WARREN_BEHIND(epoll_wait);
WARREN_BEHIND(epoll_pwait);
WARREN_BEHIND(epoll_pwait2);
WARREN_BEHIND(pause);
WARREN_BEHIND(sigsuspend);
WARREN_BEHIND(nanosleep);
WARREN_BEHIND(clock_nanosleep);
WARREN_BEHIND(usleep);
WARREN_BEHIND(sleep);
WARREN_BEHIND(thrd_sleep);
WARREN_BEHIND(sem_timedwait);
WARREN_BEHIND(sem_clockwait);

constexpr int64_t kSecond = 1'000'000'000, kMillisecond = 1'000'000, kMicrosecond = 1000;

bool is_valid(const timespec &time) { return time.tv_sec >= 0 && time.tv_nsec >= 0 && time.tv_nsec < kSecond; }

// When a wait is to end, by a clock.
class Deadline {
 public:
  explicit Deadline(const timespec &length, clockid_t clock = CLOCK_MONOTONIC) : clock_(clock), at_(now()) {
    if (__builtin_add_overflow(at_.tv_sec, length.tv_sec, &at_.tv_sec)) at_.tv_sec = INT64_MAX - 1;  // centuries
    at_.tv_nsec += length.tv_nsec;
    if (at_.tv_nsec >= kSecond) at_.tv_nsec -= kSecond, ++at_.tv_sec;
  }

  timespec left() const {
    const timespec by_now = now();
    timespec rest{at_.tv_sec - by_now.tv_sec, at_.tv_nsec - by_now.tv_nsec};
    if (rest.tv_nsec < 0) rest.tv_nsec += kSecond, --rest.tv_sec;
    return rest.tv_sec < 0 ? timespec{} : rest;
  }

 private:
  timespec now() const {
    timespec time{};
    clock_gettime(clock_, &time);
    return time;
  }

  clockid_t clock_;
  timespec at_;
};

timespec from_milliseconds(int64_t time) { return {time / 1000, time % 1000 * kMillisecond}; }

// Not less than what is left.
int to_milliseconds(const timespec &time) {
  const int64_t rounded = time.tv_sec * 1000 + (time.tv_nsec + kMillisecond - 1) / kMillisecond;
  return rounded > INT32_MAX ? INT32_MAX : static_cast<int>(rounded);
}

void restore_mask(void *before) { os_calls::restore_signals(*static_cast<uint64_t *>(before)); }

bool cut_short_by_us(int result, uint64_t number_before, const void *frame) {
  return result == -1 && errno == EINTR && cut_calls::left.number != number_before && cut_calls::is_of(frame);
}

// call(mask) waits with this mask; the program's, or the one it wants for this wait, but never without the stop signal.
template <class Call>
WARREN_NOINLINE int wait_alone(const sigset_t *wanted, Call call) {
  uint64_t before = os_calls::set_signal_mask(~stop_signal::kNeverBlocked);
  sigset_t meanwhile{};
  kernel_set(meanwhile) = before;
  if (wanted != nullptr) meanwhile = *wanted;
  kernel_set(meanwhile) &= ~stop_signal::bit();
  int result;
  uint64_t number;
  pthread_cleanup_push(restore_mask, &before);  // the wait may be the thread's end
  do {
    number = cut_calls::left.number;
    result = call(meanwhile);
  } while (cut_short_by_us(result, number, __builtin_frame_address(0)));
  pthread_cleanup_pop(0);
  restore_mask(&before);
  return result;
}

// The same where the call takes no mask.
template <class Call>
WARREN_NOINLINE int wait_openly(Call call) {
  int result;
  uint64_t number;
  do {
    number = cut_calls::left.number;
    result = call();
  } while (cut_short_by_us(result, number, __builtin_frame_address(0)));
  return result;
}

// The same once, for a call that waits for ever, until the collector is first used. False: it was, meanwhile.
template <class Call>
WARREN_NOINLINE bool ends(int *result, Call call) {
  const uint64_t number = cut_calls::left.number;
  *result = call();
  return !cut_short_by_us(*result, number, __builtin_frame_address(0));
}

// A time is as long when the clock is set.
clockid_t steady(clockid_t clock) { return clock == CLOCK_REALTIME ? CLOCK_MONOTONIC : clock; }

// Sleeps for a time, by a clock. *left: what a signal of the program's has left of it.
int sleep_for(clockid_t clock, const timespec &length, timespec *left) {
  const Deadline end(length, steady(clock));
  timespec rest = length;
  const int result = wait_openly([&] {
    const timespec wanted = rest;
    const int error = next_clock_nanosleep(clock, 0, &wanted, nullptr);
    if (error == 0) return 0;
    rest = end.left();
    errno = error;
    return -1;
  });
  if (result != 0 && errno == EINTR && left != nullptr) *left = rest;
  return result;
}

// call() sleeps for *length, by a clock, until the collector is first used. False: it was, meanwhile, and *length is what is left.
template <class Call>
bool has_slept(clockid_t clock, timespec *length, int *result, Call call) {
  const Deadline end(*length, steady(clock));
  if (ends(result, call)) return true;
  *length = end.left();
  return false;
}

// wait(time, mask) for as long as there is time left of `timeout`; nullptr: for ever.
template <class Wait>
int wait_until(const timespec *timeout, const sigset_t *mask, Wait wait) {
  if (timeout == nullptr) return wait_alone(mask, [&](const sigset_t &meanwhile) { return wait(nullptr, &meanwhile); });
  const Deadline end(*timeout);
  timespec rest = *timeout;
  return wait_alone(mask, [&](const sigset_t &meanwhile) {
    const int result = wait(&rest, &meanwhile);
    rest = end.left();
    return result;
  });
}

// Who only looks, or asks for what there is not, is not cut short.
bool only_looks(const timespec *timeout) {
  return timeout != nullptr && (!is_valid(*timeout) || (timeout->tv_sec == 0 && timeout->tv_nsec == 0));
}

}  // namespace

extern "C" {

WARREN_EXPORT int poll(pollfd *fds, nfds_t count, int timeout) {
  if (int result; collector_sleeps() || timeout == 0) {
    const bool done = ends(&result, [&] { return next_poll(fds, count, timeout); });
    if (done || timeout >= 0) return result;
  }
  const timespec time = from_milliseconds(timeout);
  return wait_until(timeout < 0 ? nullptr : &time, nullptr,
                    [&](const timespec *rest, const sigset_t *mask) { return next_ppoll(fds, count, rest, mask); });
}

WARREN_EXPORT int ppoll(pollfd *fds, nfds_t count, const timespec *timeout, const sigset_t *mask) {
  if (int result; collector_sleeps() || only_looks(timeout)) {
    const bool done = ends(&result, [&] { return next_ppoll(fds, count, timeout, mask); });
    if (done || timeout != nullptr) return result;
  }
  return wait_until(timeout, mask,
                    [&](const timespec *rest, const sigset_t *meanwhile) { return next_ppoll(fds, count, rest, meanwhile); });
}

// What programs call that were compiled with _FORTIFY_SOURCE.
int __poll_chk(pollfd *fds, nfds_t count, int timeout, size_t bytes) {
  if (bytes / sizeof *fds < count) __chk_fail();
  return poll(fds, count, timeout);
}

int __ppoll_chk(pollfd *fds, nfds_t count, const timespec *timeout, const sigset_t *mask, size_t bytes) {
  if (bytes / sizeof *fds < count) __chk_fail();
  return ppoll(fds, count, timeout, mask);
}

WARREN_EXPORT int pselect(int count, fd_set *to_read, fd_set *to_write, fd_set *special, const timespec *timeout,
                          const sigset_t *mask) {
  if (int result; collector_sleeps() || only_looks(timeout)) {
    const bool done = ends(&result, [&] { return next_pselect(count, to_read, to_write, special, timeout, mask); });
    if (done || timeout != nullptr) return result;
  }
  return wait_until(timeout, mask, [&](const timespec *rest, const sigset_t *meanwhile) {
    return next_pselect(count, to_read, to_write, special, rest, meanwhile);
  });
}

// Linux leaves in *timeout what is left of it.
WARREN_EXPORT int select(int count, fd_set *to_read, fd_set *to_write, fd_set *special, timeval *timeout) {
  if (int result; collector_sleeps()) {
    const bool done = ends(&result, [&] { return next_select(count, to_read, to_write, special, timeout); });
    if (done || timeout != nullptr) return result;
  }
  if (timeout == nullptr) return pselect(count, to_read, to_write, special, nullptr, nullptr);
  const timespec time{timeout->tv_sec, timeout->tv_usec * kMicrosecond};
  if (only_looks(&time)) return next_select(count, to_read, to_write, special, timeout);
  const Deadline end(time);
  const int result = pselect(count, to_read, to_write, special, &time, nullptr);
  const timespec rest = end.left();
  *timeout = {rest.tv_sec, rest.tv_nsec / kMicrosecond};
  return result;
}

WARREN_EXPORT int epoll_pwait(int epoll, epoll_event *events, int most, int timeout, const sigset_t *mask) {
  if (int result; collector_sleeps() || timeout == 0) {
    const bool done = ends(&result, [&] { return next_epoll_pwait(epoll, events, most, timeout, mask); });
    if (done || timeout >= 0) return result;
  }
  const timespec time = from_milliseconds(timeout);
  return wait_until(timeout < 0 ? nullptr : &time, mask, [&](const timespec *rest, const sigset_t *meanwhile) {
    return next_epoll_pwait(epoll, events, most, rest == nullptr ? -1 : to_milliseconds(*rest), meanwhile);
  });
}

WARREN_EXPORT int epoll_wait(int epoll, epoll_event *events, int most, int timeout) {
  if (int result; collector_sleeps() || timeout == 0) {
    const bool done = ends(&result, [&] { return next_epoll_wait(epoll, events, most, timeout); });
    if (done || timeout >= 0) return result;
  }
  return epoll_pwait(epoll, events, most, timeout, nullptr);
}

WARREN_EXPORT int epoll_pwait2(int epoll, epoll_event *events, int most, const timespec *timeout, const sigset_t *mask) {
  if (int result; collector_sleeps() || only_looks(timeout)) {
    const bool done = ends(&result, [&] { return next_epoll_pwait2(epoll, events, most, timeout, mask); });
    if (done || timeout != nullptr) return result;
  }
  return wait_until(timeout, mask, [&](const timespec *rest, const sigset_t *meanwhile) {
    return next_epoll_pwait2(epoll, events, most, rest, meanwhile);
  });
}

WARREN_EXPORT int pause() {
  if (int result; collector_sleeps() && ends(&result, [] { return next_pause(); })) return result;
  return wait_alone(nullptr, [](const sigset_t &meanwhile) { return next_sigsuspend(&meanwhile); });
}

WARREN_EXPORT int sigsuspend(const sigset_t *mask) {
  if (int result; collector_sleeps() && ends(&result, [&] { return next_sigsuspend(mask); })) return result;
  return wait_alone(mask, [](const sigset_t &meanwhile) { return next_sigsuspend(&meanwhile); });
}

WARREN_EXPORT int nanosleep(const timespec *length, timespec *left) {
  if (!is_valid(*length)) return next_nanosleep(length, left);
  timespec rest = *length;
  if (int result; collector_sleeps() && has_slept(CLOCK_REALTIME, &rest, &result, [&] { return next_nanosleep(length, left); })) return result;
  return sleep_for(CLOCK_REALTIME, rest, left);
}

WARREN_EXPORT int clock_nanosleep(clockid_t clock, int flags, const timespec *time, timespec *left) {
  if (!is_valid(*time)) return next_clock_nanosleep(clock, flags, time, left);
  const int before = errno;
  const auto sleep_once = [&] {
    const int error = next_clock_nanosleep(clock, flags, time, left);
    if (error == 0) return 0;
    errno = error;
    return -1;
  };
  int result;
  if ((flags & TIMER_ABSTIME) != 0) {
    result = wait_openly(sleep_once);
  } else if (timespec rest = *time; !collector_sleeps() || !has_slept(clock, &rest, &result, sleep_once)) {
    result = sleep_for(clock, rest, left);
  }
  const int error = result == 0 ? 0 : errno;
  errno = before;  // the error is returned, and nowhere else
  return error;
}

WARREN_EXPORT int usleep(useconds_t length) {
  timespec rest{length / 1'000'000, length % 1'000'000 * kMicrosecond};
  if (int result; collector_sleeps() && has_slept(CLOCK_REALTIME, &rest, &result, [=] { return next_usleep(length); })) return result;
  return sleep_for(CLOCK_REALTIME, rest, nullptr);
}

WARREN_EXPORT unsigned sleep(unsigned length) {
  const int before = errno;
  timespec rest{length, 0};
  unsigned left_by_libc = 0;
  if (int result; collector_sleeps() && has_slept(CLOCK_REALTIME, &rest, &result, [&] {
        left_by_libc = next_sleep(length);
        return left_by_libc == 0 ? 0 : -1;  // with EINTR
      })) {
    return left_by_libc;
  }
  timespec left{};
  if (sleep_for(CLOCK_REALTIME, rest, &left) != 0) return static_cast<unsigned>(left.tv_sec);
  errno = before;
  return 0;
}

WARREN_EXPORT int thrd_sleep(const timespec *length, timespec *left) {
  if (!is_valid(*length)) return next_thrd_sleep(length, left);
  timespec rest = *length;
  const auto sleep_once = [&] {
    const int result = next_thrd_sleep(length, left);
    if (result == -1) errno = EINTR;
    return result;
  };
  if (int result; collector_sleeps() && has_slept(CLOCK_REALTIME, &rest, &result, sleep_once)) return result;
  if (sleep_for(CLOCK_REALTIME, rest, left) == 0) return 0;
  return errno == EINTR ? -1 : -2;
}

WARREN_EXPORT int sem_timedwait(sem_t *semaphore, const timespec *until) {
  return wait_openly([&] { return next_sem_timedwait(semaphore, until); });
}

WARREN_EXPORT int sem_clockwait(sem_t *semaphore, clockid_t clock, const timespec *until) {
  return wait_openly([&] { return next_sem_clockwait(semaphore, clock, until); });
}

}  // extern "C"
