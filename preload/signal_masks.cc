// Signal masks that keep the collector's stop signal open: without this a thread that blocks everything, as many
// servers' do, and one that waits for all signals, could not be stopped. Until the collector is first used these are
// libc's functions. The signal is left out of what a thread blocks and of what it waits for; the program sees that it
// is not in its mask. Callers: programs. Invariant: nothing here allocates, but for the first look-up of a waiting
// function.
//
// Not here: masks that last for one call (ppoll, pselect, epoll_pwait, sigsuspend: waiting_calls.cc), a handler's sa_mask, and those set
// before the collector's first use (stop_signal::open_in). Whoever stops the world says which thread blocks the signal all the same.
#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"
#include "gc/stop_signal.h"
#include "preload/entry_points.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <dlfcn.h>
#include <pthread.h>
#include <sys/signalfd.h>

namespace {

namespace os_calls = warren::os_calls;
namespace stop_signal = warren::gc::stop_signal;

// libc's own two, which it lets nobody block either.
constexpr uint64_t kReserved = uint64_t{3} << 31;

uint64_t &kernel_set(sigset_t &set) { return reinterpret_cast<uint64_t &>(set); }

int change_mask(int how, const sigset_t *set, sigset_t *before) {
  uint64_t *previous = before == nullptr ? nullptr : &kernel_set(*before);
  if (set == nullptr) return static_cast<int>(-os_calls::change_signal_mask(how, nullptr, previous));
  sigset_t kept = *set;
  if (how != SIG_UNBLOCK) kernel_set(kept) &= ~(kReserved | stop_signal::bit());
  return static_cast<int>(-os_calls::change_signal_mask(how, &kernel_set(kept), previous));
}

sigset_t without_stop_signal(const sigset_t &set) {
  sigset_t rest = set;
  kernel_set(rest) &= ~stop_signal::bit();
  return rest;
}

// The definition behind ours. Relaxed: every thread finds the same.
template <class Function>
Function *next(std::atomic<Function *> &found, const char *name) {
  Function *function = found.load(std::memory_order_relaxed);
  if (WARREN_UNLIKELY(function == nullptr)) {
    function = reinterpret_cast<Function *>(dlsym(RTLD_NEXT, name));
    found.store(function, std::memory_order_relaxed);
  }
  return function;
}

std::atomic<int (*)(const sigset_t *, int *)> next_sigwait;
std::atomic<int (*)(const sigset_t *, siginfo_t *)> next_sigwaitinfo;
std::atomic<int (*)(const sigset_t *, siginfo_t *, const timespec *)> next_sigtimedwait;
std::atomic<int (*)(int, const sigset_t *, int)> next_signalfd;

}  // namespace

extern "C" {

WARREN_EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *before) noexcept {
  return change_mask(how, set, before);
}

WARREN_EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *before) noexcept {
  const int error = change_mask(how, set, before);
  if (error == 0) return 0;
  errno = error;
  return -1;
}

WARREN_EXPORT int sigwait(const sigset_t *set, int *signal) {
  const sigset_t waited_for = without_stop_signal(*set);
  return next(next_sigwait, "sigwait")(&waited_for, signal);
}

WARREN_EXPORT int sigwaitinfo(const sigset_t *set, siginfo_t *information) {
  const sigset_t waited_for = without_stop_signal(*set);
  return next(next_sigwaitinfo, "sigwaitinfo")(&waited_for, information);
}

WARREN_EXPORT int sigtimedwait(const sigset_t *set, siginfo_t *information, const timespec *time) {
  const sigset_t waited_for = without_stop_signal(*set);
  return next(next_sigtimedwait, "sigtimedwait")(&waited_for, information, time);
}

WARREN_EXPORT int signalfd(int fd, const sigset_t *set, int flags) noexcept {
  const sigset_t waited_for = without_stop_signal(*set);
  return next(next_signalfd, "signalfd")(fd, &waited_for, flags);
}

}  // extern "C"
