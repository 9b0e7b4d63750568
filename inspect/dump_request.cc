// See dump_request.h.
#include "inspect/dump_request.h"

#include "allocator/base/annotations.h"
#include "allocator/base/log.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "gc/world.h"
#include "inspect/heap_dump.h"

#include <atomic>
#include <csignal>
#include <cstring>
#include <pthread.h>

namespace warren::inspect::dump_request {
namespace {

// Counts signals. The thread sleeps on the number it has seen; relaxed: the futex orders it.
std::atomic<uint32_t> signals{0};

const uint32_t *word() { return os_calls::futex_word(signals); }

// Whether the thread writes a dump. A process that ends lets it finish that one, whose file would stay incomplete, and begin no other.
enum State : uint32_t { kIdle, kDumping, kEnded };
std::atomic<uint32_t> state{kIdle};

bool enter(State wanted) {
  uint32_t found = kIdle;
  // acquire: pairs with the release in leave().
  return state.compare_exchange_strong(found, wanted, std::memory_order_acquire);
}

void leave() {
  state.store(kIdle, std::memory_order_release);  // pairs with the acquire in enter()
  os_calls::futex_wake(os_calls::futex_word(state), 1);
}

bool wanted() { return options.heap_dump[0] != '\0'; }

uint64_t first_process = 0;  // the one that was started with the option

LogLine own_name() {
  const uint64_t named = options.heap_dump_pid.load(std::memory_order_relaxed);
  const uint64_t process = os_calls::process_id();
  LogLine path;
  path << options.heap_dump;
  if (process != (named != 0 && named != kNoLimit ? named : first_process)) path << ".pid" << process;
  return path;
}

void complain(const char *path, int error) {
  LogLine line;
  line << "warren: no heap dump in " << path << ": error " << static_cast<uint64_t>(error);
  line.write_to(2);
}

void dump(const char *path) {
  if (const int error = write_heap_dump(path); error != 0) complain(path, error);
}

void on_signal(int, void *, void *) {
  signals.fetch_add(1, std::memory_order_relaxed);
  os_calls::futex_wake(word(), 1);
}

void wait_for_signals(void *) {
  for (uint32_t seen = 0;;) {
    os_calls::futex_wait(word(), seen);
    if (signals.load(std::memory_order_relaxed) == seen) continue;
    ++seen;
    LogLine path = own_name();
    path << "." << uint64_t{seen};
    path.text("", 1);
    if (!enter(kDumping)) continue;
    dump(path.data());
    leave();
  }
}

void start_thread() { gc::world::start_collector_thread(wait_for_signals, nullptr, "warren-dump"); }

void in_child() {
  signals.store(0, std::memory_order_relaxed);
  state.store(kIdle, std::memory_order_relaxed);  // the parent's thread did not come along
  start_thread();
}

}  // namespace

WARREN_AT_START void install() {
  if (!wanted()) return;
  first_process = os_calls::process_id();
  const uint64_t signal = options.heap_dump_signal.load(std::memory_order_relaxed);
  if (signal == 0 || signal == kNoLimit || !gc::world::set_up()) return;
  if (os_calls::failed(os_calls::handle_signal(static_cast<int>(signal), on_signal))) return;
  start_thread();
  pthread_atfork(nullptr, nullptr, in_child);
}

WARREN_AT_START void at_exit() {
  if (!wanted()) return;
  while (!enter(kEnded)) os_calls::futex_wait(os_calls::futex_word(state), kDumping);
  LogLine path = own_name();
  path.text("", 1);
  dump(path.data());
}

}  // namespace warren::inspect::dump_request
