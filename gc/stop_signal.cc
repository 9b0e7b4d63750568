// See stop_signal.h.
#include "gc/stop_signal.h"

#include <atomic>
#include <csignal>

namespace warren::gc::stop_signal {
namespace {

std::atomic<int> taken{0};  // relaxed: who sees it late leaves the mask as it was, and stop() says so
os_calls::SignalHandler own_handler;

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

bool ours() { return os_calls::handler_of(number()) == own_handler; }

int number() { return taken.load(std::memory_order_relaxed); }

}  // namespace warren::gc::stop_signal
