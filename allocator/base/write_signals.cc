// See write_signals.h.
#include "allocator/base/write_signals.h"

#include <cerrno>
#include <ctime>
#include <pthread.h>

namespace warren {

WriteSignalsHeld::WriteSignalsHeld() {
  sigset_t pending, held;
  sigpending(&pending);
  sigemptyset(&raised_);
  sigemptyset(&held);
  constexpr int kSignals[] = {SIGPIPE, SIGXFSZ};
  for (const int signal : kSignals) {
    sigaddset(&held, signal);
    if (sigismember(&pending, signal) != 1) sigaddset(&raised_, signal);
  }
  pthread_sigmask(SIG_BLOCK, &held, &before_);
}

WriteSignalsHeld::~WriteSignalsHeld() {
  const timespec now{};
  const int error = errno;
  while (sigtimedwait(&raised_, nullptr, &now) != -1 || errno == EINTR) {
  }
  errno = error;
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace warren
