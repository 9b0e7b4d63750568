// See stop_signal.h.
#include "gc/stop_signal.h"

#include "allocator/base/os_process.h"

#include <atomic>
#include <csignal>
#include <ucontext.h>

namespace warren::gc::stop_signal {
namespace {

std::atomic<int> taken{0};  // relaxed: who sees it late leaves the mask as it was, and stop() says so
os_calls::SignalHandler own_handler;

constexpr int kOpener = 33;  // libc's SIGSETXID

// libc's handler of it. Written before ours is in its place, by who stops the world.
std::atomic<os_calls::SignalHandler> behind_opener{nullptr};  // relaxed: the system call that installs ours comes between

void on_opener(int signal, void *information, void *context) {
  const auto *sent = static_cast<const siginfo_t *>(information);
  if (sent->si_code == kCode && static_cast<uint64_t>(sent->si_pid) == os_process::id()) {
    // What the thread has when this returns. The signal that waits for it comes then.
    reinterpret_cast<uint64_t &>(static_cast<ucontext_t *>(context)->uc_sigmask) &= ~bit();
    return;
  }
  behind_opener.load(std::memory_order_relaxed)(signal, information, context);
}

}  // namespace

bool take(os_calls::SignalHandler handler) {
  for (int signal = kHighest; signal >= kLowest; --signal) {
    const os_calls::SignalHandler now = os_calls::handler_of(signal);
    if (now != nullptr && now != handler) continue;  // SIG_IGN is somebody's choice as well
    if (os_calls::failed(os_calls::handle_signal(signal, handler))) continue;
    own_handler = handler;
    taken.store(signal, std::memory_order_relaxed);
    return true;
  }
  return false;
}

bool open_in(uint32_t thread, uint64_t blocked) {
  if ((blocked & uint64_t{1} << (kOpener - 1)) != 0) return false;
  const os_calls::SignalHandler now = os_calls::handler_of(kOpener);
  if (now == nullptr) return false;
  if (now != on_opener) {
    behind_opener.store(now, std::memory_order_relaxed);
    if (os_calls::failed(os_calls::handle_signal(kOpener, on_opener))) return false;
  }
  return os_calls::queue_signal(os_process::id(), thread, kOpener, kCode, 0) == 0;
}

bool ours() { return os_calls::handler_of(number()) == own_handler; }

int number() { return taken.load(std::memory_order_relaxed); }

}  // namespace warren::gc::stop_signal
